package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A sidecar dies while the authorization server keeps it waiting. Who has its
// journal, another process of the same directory or the sidecar itself after its
// restart, moves the document on: with a token that was not spent within seconds,
// and with one that was to the end that only a person can change.
func TestCrashWhileATokenIsBeingSpent(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{})
	type loss struct {
		tenant       string
		victim, heir *world.World
		spent        bool
		gate         *world.Gate
	}
	losses := []*loss{
		{tenant: "unspent-shared", victim: f.A, heir: f.B},
		{tenant: "spent-shared", victim: f.A, heir: f.B, spent: true},
		{tenant: "unspent-restarted", victim: f.C, heir: f.C},
		{tenant: "spent-restarted", victim: f.C, heir: f.C, spent: true},
	}
	for _, l := range losses {
		f.SeedExpired(l.tenant)
		l.gate = f.HoldRefresh(l.tenant, world.NeverRotated)
		if l.spent {
			l.gate = f.HoldRefresh(l.tenant, world.AfterRotation)
		}
		lost := lose(l.victim, world.Request{Tenant: l.tenant, ID: l.tenant, Body: world.RandomBytes(world.KiB)})
		f.Check(l.gate.Await(f.Ctx))
		f.Check(f.HasStatus(l.tenant, "spending"))
		defer func() { f.Check(<-lost) }()
	}

	f.A.Kill()
	f.C.Kill()
	killed := time.Now()
	for _, l := range losses {
		l.gate.Open()
	}
	f.C.Restart()
	for _, l := range losses {
		limit := 10*time.Second - time.Since(killed)
		if !l.spent {
			l.heir.RecoversWithin(limit, l.tenant)
			t.Logf("%s: served %v after the crash", l.tenant, time.Since(killed).Round(time.Millisecond))
			f.Eventually(func() error { return f.NewestStored(l.tenant) })
			f.Asked(l.tenant, authserver.Refused, authserver.Rotated)
			continue
		}
		// Its successor died with the sidecar: the server takes the second
		// presentation for a theft.
		l.heir.Soon(limit, func() error { return reauthorization(l.heir, l.tenant) })
		f.Check(f.HasStatus(l.tenant, "reauthorization_required"))
		f.Asked(l.tenant, authserver.Lost, authserver.Reused)
	}

	// All know it now, ask no more, and take what a person brings.
	f.A.Restart()
	for _, l := range losses {
		if !l.spent {
			continue
		}
		for _, w := range f.Replicas() {
			w.Check(reauthorization(w, l.tenant))
		}
		f.Asked(l.tenant, authserver.Lost, authserver.Reused)
		f.Seed(l.tenant)
	}
	for _, l := range losses {
		for _, w := range f.Replicas() {
			w.RecoversWithin(5*time.Second, l.tenant)
		}
	}
}

// lose sends a request whose answer must not come.
func lose(w *world.World, r world.Request) <-chan error {
	lost := make(chan error, 1)
	go func() {
		res, err := w.Send(w.Ctx, r)
		if err == nil {
			lost <- fmt.Errorf("%s: status %d from a sidecar that was to die", r.ID, res.StatusCode)
			return
		}
		lost <- nil
	}()
	return lost
}

// reauthorization checks that a tenant's request is answered with the 401 and told
// that somebody has to authorize anew.
func reauthorization(w *world.World, tenant string) error {
	res, err := w.Send(w.Ctx, world.Request{Tenant: tenant, ID: tenant + " for a person " + time.Now().String()})
	if err != nil {
		return err
	}
	if code := res.Header.Get("Upstream-Auth-Error"); res.StatusCode != 401 || code != "reauthorization_required" {
		return fmt.Errorf("%s: status %d, code %q", tenant, res.StatusCode, code)
	}
	return nil
}

// A sidecar dies with new tokens that Vault could not take. Who has its journal
// commits them; no token is presented a second time.
func TestCrashWithACommitPending(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct{ begin, end func(*world.Vault) }{
		"vault sealed": {func(v *world.Vault) { v.Seal() }, func(v *world.Vault) { v.Unseal() }},
		"vault killed": {func(v *world.Vault) { v.Kill() }, func(v *world.Vault) { v.Restart() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := world.NewFleet(t, world.Configuration{Store: world.PromptVault})
			heirs := map[string]*world.World{"shared": f.B, "restarted": f.C}
			victims := map[string]*world.World{"shared": f.A, "restarted": f.C}
			var gates []*world.Gate
			served := make(map[string]<-chan error)
			for tenant, victim := range victims {
				f.SeedExpired(tenant)
				gate := f.HoldRefresh(tenant, world.BeforeRotation)
				served[tenant] = victim.Deliver(world.Request{Tenant: tenant, ID: tenant, Body: world.RandomBytes(world.KiB)})
				f.Check(gate.Await(f.Ctx))
				gates = append(gates, gate)
			}
			outage.begin(f.Vault)
			for _, gate := range gates {
				gate.Open()
			}
			for tenant, victim := range victims {
				f.Check(<-served[tenant]) // from memory, once the answer is in the journal
				r := world.Request{Tenant: tenant, ID: tenant + " again"}
				f.Check(victim.Delivered(r, victim.Must(r)))
			}

			f.A.Kill()
			f.C.Kill()
			f.C.Restart()
			outage.end(f.Vault)
			back := time.Now()
			for tenant, heir := range heirs {
				heir.RecoversWithin(10*time.Second, tenant)
				t.Logf("%s: served %v after Vault was back", tenant, time.Since(back).Round(time.Millisecond))
			}
			f.Settled("shared", "restarted")
			for tenant := range heirs {
				f.Check(f.HasStatus(tenant, "ready"))
				f.Asked(tenant, authserver.Rotated)
			}
		})
	}
}

// With `takeover never` a refresh token is not presented again after a crash, not
// even by who knows that its owner is dead. The document waits for a person.
func TestCrashWithoutTakeover(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{OAuth2: "takeover never"})
	f.SeedExpired("acme")
	gate := f.HoldRefresh("acme", world.NeverRotated)
	lost := lose(f.A, world.Request{Tenant: "acme", ID: "acme"})
	f.Check(gate.Await(f.Ctx))
	f.A.Kill()
	f.Check(<-lost)
	gate.Open()

	f.B.Soon(10*time.Second, func() error { return reauthorization(f.B, "acme") })
	f.A.Restart()
	f.Asked("acme", authserver.Refused)
	f.Seed("acme")
	for _, w := range f.Replicas() {
		w.RecoversWithin(5*time.Second, "acme")
	}
	f.Check(f.Auth.Expire("acme"))
	for _, w := range f.Replicas() {
		w.RecoversWithin(5*time.Second, "acme")
	}
	f.Settled("acme")
}
