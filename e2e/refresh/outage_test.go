package refresh

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Caddy starts without Vault, says so, and serves once Vault is there.
func TestVaultDownAtStart(t *testing.T) {
	w := world.New(t)
	w.SeedExpired("acme")
	w.Vault.Kill()
	w.Start(world.Configuration{Store: world.PromptVault})
	unavailable(w, "acme", "no vault")
	w.Eventually(func() error {
		if !bytes.Contains(w.Caddy.Output(), []byte("ault")) {
			return errors.New("the log does not say that Vault is missing")
		}
		return nil
	})
	w.Vault.Restart()
	w.Recovers("acme")
	w.Settled("acme")
}

// With Vault gone, what was read lately is served, the rest is 503, nothing is
// refreshed whose tokens could not be kept, and all recovers by itself.
func TestVaultKilledInMidRun(t *testing.T) {
	outage(t, func(v *world.Vault) { v.Kill() }, func(v *world.Vault) { v.Restart() })
}

func TestVaultSealedInMidRun(t *testing.T) {
	outage(t, func(v *world.Vault) { v.Seal() }, func(v *world.Vault) { v.Unseal() })
}

func outage(t *testing.T, begin, end func(*world.Vault)) {
	w := world.New(t)
	w.Start(world.Configuration{Store: world.PromptVault})
	for _, tenant := range []string{"seen", "stale", "unseen"} {
		w.Seed(tenant)
	}
	w.Expect(world.Request{Tenant: "seen", ID: "before seen"}, 200)
	w.Expect(world.Request{Tenant: "stale", ID: "before stale"}, 200)

	begin(w.Vault)
	for i := range 3 {
		r := world.Request{Tenant: "seen", ID: fmt.Sprint("during ", i), Body: world.RandomBytes(10 * world.KiB)}
		w.Check(w.Delivered(r, w.Must(r)))
		unavailable(w, "unseen", fmt.Sprint("during unseen ", i))
	}
	// A token that the upstream has stopped accepting cannot be refreshed: the new
	// one could not be kept. The app sees the 401.
	w.Check(w.Auth.Expire("stale"))
	res := w.Expect(world.Request{Tenant: "stale", ID: "during stale"}, 401)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.Content) != "attempt 1" {
		t.Errorf("code %q, answer %q", code, res.Content)
	}
	if got := len(w.Auth.Ledger()); got != 0 {
		t.Errorf("%d refresh tokens were spent", got)
	}

	end(w.Vault)
	for _, tenant := range []string{"unseen", "seen", "stale"} {
		w.Recovers(tenant)
	}
	w.Settled("seen", "stale", "unseen")
}

// Vault dies between the claim to refresh and the answer of the token endpoint:
// the new tokens serve from memory, and reach Vault when it is back.
func TestVaultKilledDuringARefresh(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Store: world.PromptVault})
	w.SeedExpired("acme")
	w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: w.Vault.Kill}
	})
	r := world.Request{Tenant: "acme", ID: "with the new token", Body: world.RandomBytes(10 * world.KiB)}
	w.Check(w.Delivered(r, w.Must(r)))
	w.Auth.Play(nil)
	for i := range 3 {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("from memory ", i)}
		w.Check(w.Delivered(r, w.Must(r)))
	}
	w.Vault.Restart()
	w.Settled("acme")
	if got := len(w.Auth.Ledger()); got != 1 {
		t.Errorf("%d refreshes", got)
	}
}

// A Vault token that is revoked is replaced by another login.
func TestRevokedLoginIsRenewed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Store: world.PromptVault})
	w.Seed("acme")
	w.Expect(world.Request{Tenant: "acme", ID: "before"}, 200)
	for i := range 3 {
		w.Check(w.Vault.Root.Sys().RevokePrefixWithContext(w.Ctx, "auth/approle/login"))
		w.Check(w.Auth.Expire("acme"))
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("after ", i), Body: world.RandomBytes(world.KiB)}
		w.Eventually(func() error {
			res := w.Must(r)
			err := w.Delivered(r, res)
			r.ID += "."
			return err
		})
		w.Settled("acme")
	}
}

// unavailable checks the answer for a tenant that only Vault could serve.
func unavailable(w *world.World, tenant, id string) {
	w.Helper()
	res := w.Expect(world.Request{Tenant: tenant, ID: id}, 503)
	if res.Header.Get("Upstream-Auth-Error") != "store_unavailable" || res.Header.Get("Retry-After") == "" {
		w.Errorf("%s: %v", id, res.Header)
	}
	if len(w.API.Attempts(id)) > 0 {
		w.Errorf("%s: the upstream was asked", id)
	}
}
