package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// promptVault makes every request look at Vault, and give up on it soon.
const promptVault = "timeout 500ms\ncache_ttl 1ms\nstale_if_error 1h"

// Caddy starts without Vault, says so, and serves once Vault is there.
func TestVaultDownAtStart(t *testing.T) {
	w := newWorld(t)
	w.seedExpired("acme")
	w.vault.Kill()
	w.start(configuration{store: promptVault})
	w.unavailable("acme", "no vault")
	w.eventually(func() error {
		if !bytes.Contains(w.caddy.Output(), []byte("ault")) {
			return errors.New("the log does not say that Vault is missing")
		}
		return nil
	})
	w.vault.Restart()
	w.recovers("acme")
	w.settled("acme")
}

// With Vault gone, what was read lately is served, the rest is 503, nothing is
// refreshed whose tokens could not be kept, and all recovers by itself.
func TestVaultKilledInMidRun(t *testing.T) {
	outage(t, func(v *vault) { v.Kill() }, func(v *vault) { v.Restart() })
}

func TestVaultSealedInMidRun(t *testing.T) {
	outage(t, func(v *vault) { v.Seal() }, func(v *vault) { v.Unseal() })
}

func outage(t *testing.T, begin, end func(*vault)) {
	w := newWorld(t)
	w.start(configuration{store: promptVault})
	for _, tenant := range []string{"seen", "stale", "unseen"} {
		w.seed(tenant)
	}
	w.expect(request{tenant: "seen", id: "before seen"}, 200)
	w.expect(request{tenant: "stale", id: "before stale"}, 200)

	begin(w.vault)
	for i := range 3 {
		r := request{tenant: "seen", id: fmt.Sprint("during ", i), body: randomBytes(10 * kib)}
		w.check(w.delivered(r, w.must(r)))
		w.unavailable("unseen", fmt.Sprint("during unseen ", i))
	}
	// A token that the upstream has stopped accepting cannot be refreshed: the new
	// one could not be kept. The app sees the 401.
	w.check(w.auth.Expire("stale"))
	res := w.expect(request{tenant: "stale", id: "during stale"}, 401)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.body) != "attempt 1" {
		t.Errorf("code %q, answer %q", code, res.body)
	}
	if got := len(w.auth.Ledger()); got != 0 {
		t.Errorf("%d refresh tokens were spent", got)
	}

	end(w.vault)
	for _, tenant := range []string{"unseen", "seen", "stale"} {
		w.recovers(tenant)
	}
	w.settled("seen", "stale", "unseen")
}

// Vault dies between the claim to refresh and the answer of the token endpoint:
// the new tokens serve from memory, and reach Vault when it is back.
func TestVaultKilledDuringARefresh(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{store: promptVault})
	w.seedExpired("acme")
	w.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: w.vault.Kill}
	})
	r := request{tenant: "acme", id: "with the new token", body: randomBytes(10 * kib)}
	w.check(w.delivered(r, w.must(r)))
	w.auth.Play(nil)
	for i := range 3 {
		r := request{tenant: "acme", id: fmt.Sprint("from memory ", i)}
		w.check(w.delivered(r, w.must(r)))
	}
	w.vault.Restart()
	w.settled("acme")
	if got := len(w.auth.Ledger()); got != 1 {
		t.Errorf("%d refreshes", got)
	}
}

// A Vault token that is revoked is replaced by another login.
func TestRevokedLoginIsRenewed(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{store: promptVault})
	w.seed("acme")
	w.expect(request{tenant: "acme", id: "before"}, 200)
	for i := range 3 {
		w.check(w.vault.root.Sys().RevokePrefixWithContext(w.ctx, "auth/approle/login"))
		w.check(w.auth.Expire("acme"))
		r := request{tenant: "acme", id: fmt.Sprint("after ", i), body: randomBytes(kib)}
		w.eventually(func() error {
			res := w.must(r)
			err := w.delivered(r, res)
			r.id += "."
			return err
		})
		w.settled("acme")
	}
}

// unavailable checks the answer for a tenant that only Vault could serve.
func (w *world) unavailable(tenant, id string) {
	w.Helper()
	res := w.expect(request{tenant: tenant, id: id}, 503)
	if res.Header.Get("Upstream-Auth-Error") != "store_unavailable" || res.Header.Get("Retry-After") == "" {
		w.Errorf("%s: %v", id, res.Header)
	}
	if len(w.api.Attempts(id)) > 0 {
		w.Errorf("%s: the upstream was asked", id)
	}
}

// recovers sends requests for a tenant until one is served.
func (w *world) recovers(tenant string) {
	w.Helper()
	w.recoversWithin(30*time.Second, tenant)
}

// recoversWithin is recovers with a limit that the product promises.
func (w *world) recoversWithin(limit time.Duration, tenant string) {
	w.Helper()
	w.soon(limit, func() error {
		r := request{tenant: tenant, id: tenant + " recovers " + rand.Text(), body: randomBytes(kib)}
		res, err := w.send(w.ctx, r)
		if err != nil {
			return err
		}
		return w.delivered(r, res)
	})
}
