package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// A sidecar dies while the authorization server keeps it waiting. Who has its
// journal, another process of the same directory or the sidecar itself after its
// restart, moves the document on: with a token that was not spent within seconds,
// and with one that was to the end that only a person can change.
func TestCrashWhileATokenIsBeingSpent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{})
	type loss struct {
		tenant       string
		victim, heir *world
		spent        bool
		gate         *gate
	}
	losses := []*loss{
		{tenant: "unspent-shared", victim: f.a, heir: f.b},
		{tenant: "spent-shared", victim: f.a, heir: f.b, spent: true},
		{tenant: "unspent-restarted", victim: f.c, heir: f.c},
		{tenant: "spent-restarted", victim: f.c, heir: f.c, spent: true},
	}
	for _, l := range losses {
		f.seedExpired(l.tenant)
		l.gate = f.holdRefresh(l.tenant, neverRotated)
		if l.spent {
			l.gate = f.holdRefresh(l.tenant, afterRotation)
		}
		lost := l.victim.lose(request{tenant: l.tenant, id: l.tenant, body: randomBytes(kib)})
		f.check(l.gate.await(f.ctx))
		f.check(f.hasStatus(l.tenant, "spending"))
		defer func() { f.check(<-lost) }()
	}

	f.a.kill()
	f.c.kill()
	killed := time.Now()
	for _, l := range losses {
		l.gate.open()
	}
	f.c.restart()
	for _, l := range losses {
		limit := 10*time.Second - time.Since(killed)
		if !l.spent {
			l.heir.recoversWithin(limit, l.tenant)
			t.Logf("%s: served %v after the crash", l.tenant, time.Since(killed).Round(time.Millisecond))
			f.eventually(func() error { return f.newestStored(l.tenant) })
			f.asked(l.tenant, authserver.Refused, authserver.Rotated)
			continue
		}
		// Its successor died with the sidecar: the server takes the second
		// presentation for a theft.
		l.heir.soon(limit, func() error { return l.heir.reauthorization(l.tenant) })
		f.check(f.hasStatus(l.tenant, "reauthorization_required"))
		f.asked(l.tenant, authserver.Lost, authserver.Reused)
	}

	// All know it now, ask no more, and take what a person brings.
	f.a.restart()
	for _, l := range losses {
		if !l.spent {
			continue
		}
		for _, w := range f.replicas() {
			w.check(w.reauthorization(l.tenant))
		}
		f.asked(l.tenant, authserver.Lost, authserver.Reused)
		f.seed(l.tenant)
	}
	for _, l := range losses {
		for _, w := range f.replicas() {
			w.recoversWithin(5*time.Second, l.tenant)
		}
	}
}

// lose sends a request whose answer must not come.
func (w *world) lose(r request) <-chan error {
	lost := make(chan error, 1)
	go func() {
		res, err := w.send(w.ctx, r)
		if err == nil {
			lost <- fmt.Errorf("%s: status %d from a sidecar that was to die", r.id, res.StatusCode)
			return
		}
		lost <- nil
	}()
	return lost
}

// reauthorization checks that a tenant's request is answered with the 401 and told
// that somebody has to authorize anew.
func (w *world) reauthorization(tenant string) error {
	res, err := w.send(w.ctx, request{tenant: tenant, id: tenant + " for a person " + time.Now().String()})
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
	for name, outage := range map[string]struct{ begin, end func(*vault) }{
		"vault sealed": {func(v *vault) { v.Seal() }, func(v *vault) { v.Unseal() }},
		"vault killed": {func(v *vault) { v.Kill() }, func(v *vault) { v.Restart() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, configuration{store: promptVault})
			heirs := map[string]*world{"shared": f.b, "restarted": f.c}
			victims := map[string]*world{"shared": f.a, "restarted": f.c}
			var gates []*gate
			served := make(map[string]<-chan error)
			for tenant, victim := range victims {
				f.seedExpired(tenant)
				gate := f.holdRefresh(tenant, beforeRotation)
				served[tenant] = victim.deliver(request{tenant: tenant, id: tenant, body: randomBytes(kib)})
				f.check(gate.await(f.ctx))
				gates = append(gates, gate)
			}
			outage.begin(f.vault)
			for _, gate := range gates {
				gate.open()
			}
			for tenant, victim := range victims {
				f.check(<-served[tenant]) // from memory, once the answer is in the journal
				r := request{tenant: tenant, id: tenant + " again"}
				f.check(victim.delivered(r, victim.must(r)))
			}

			f.a.kill()
			f.c.kill()
			f.c.restart()
			outage.end(f.vault)
			back := time.Now()
			for tenant, heir := range heirs {
				heir.recoversWithin(10*time.Second, tenant)
				t.Logf("%s: served %v after Vault was back", tenant, time.Since(back).Round(time.Millisecond))
			}
			f.settled("shared", "restarted")
			for tenant := range heirs {
				f.check(f.hasStatus(tenant, "ready"))
				f.asked(tenant, authserver.Rotated)
			}
		})
	}
}

// With `takeover never` a refresh token is not presented again after a crash, not
// even by who knows that its owner is dead. The document waits for a person.
func TestCrashWithoutTakeover(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{oauth2: "takeover never"})
	f.seedExpired("acme")
	gate := f.holdRefresh("acme", neverRotated)
	lost := f.a.lose(request{tenant: "acme", id: "acme"})
	f.check(gate.await(f.ctx))
	f.a.kill()
	f.check(<-lost)
	gate.open()

	f.b.soon(10*time.Second, func() error { return f.b.reauthorization("acme") })
	f.a.restart()
	f.asked("acme", authserver.Refused)
	f.seed("acme")
	for _, w := range f.replicas() {
		w.recoversWithin(5*time.Second, "acme")
	}
	f.check(f.auth.Expire("acme"))
	for _, w := range f.replicas() {
		w.recoversWithin(5*time.Second, "acme")
	}
	f.settled("acme")
}
