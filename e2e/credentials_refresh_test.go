package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// What is brought in the middle of a refresh wins over what the refresh brings, if its
// refresh token is another one.
func TestOtherTokensDuringARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.fleet(w.withAPI(configuration{store: patientVault + "cache_ttl 1ms"}, ""))
	for name, at := range map[string]*world{"same": f.a, "other": f.b} {
		for moment, hold := range map[string]func(tenant string) *gate{
			atEndpoint: func(tenant string) *gate { return f.holdRefresh(tenant, beforeRotation) },
			atCommit:   func(tenant string) *gate { return f.holdWrite(tenant, "ready", false) },
		} {
			t.Run(name+" replica "+moment, func(t *testing.T) {
				f, at := f.within(t), at.within(t)
				tenant := tenantName(name + moment)
				f.seedExpired(tenant)
				gate := hold(tenant)
				served := f.a.deliver(request{tenant: tenant, id: tenant, body: randomBytes(kib)})
				f.check(gate.await(f.ctx))

				tokens, err := f.auth.Seed(tenant)
				f.check(err)
				at.brings(tenant, documentOf(tenant, tokens))
				at.check(at.sends(tenant, tokens.Access)) // while the refresh is held back
				gate.open()
				f.check(<-served)
				f.remains(300*time.Millisecond, func() error {
					held, err := f.stored(tenant)
					if err == nil && held != documentOf(tenant, tokens) {
						err = errors.New("what was brought is not in Vault any more")
					}
					return err
				})
				f.asked(tenant, authserver.Rotated)
				f.check(f.auth.Expire(tenant))
				for _, w := range f.replicas() {
					w.recoversWithin(5*time.Second, tenant)
				}
				f.settled(tenant)
				f.asked(tenant, authserver.Rotated, authserver.Rotated)
			})
		}
	}
}

// A credential with the same refresh token that is brought in the middle of a refresh
// leaves the claim on it: no replica presents the token once more. The new tokens and
// what else was brought are both in Vault in the end.
func TestSameRefreshTokenDuringARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.fleet(w.withAPI(configuration{store: patientVault + "cache_ttl 1ms"}, ""))
	for moment, hold := range map[string]func(tenant string) *gate{
		atEndpoint: func(tenant string) *gate { return f.holdRefresh(tenant, beforeRotation) },
		atCommit:   func(tenant string) *gate { return f.holdWrite(tenant, "ready", false) },
	} {
		t.Run(moment, func(t *testing.T) {
			f := f.within(t)
			tenant := tenantName(moment)
			tokens, err := f.auth.Seed(tenant)
			f.check(err)
			d := documentOf(tenant, tokens)
			d.Account = "not yet"
			f.store(tenant, d)
			f.check(f.auth.Expire(tenant))
			gate := hold(tenant)
			waiting := []<-chan error{f.a.deliver(request{tenant: tenant, id: tenant})}
			f.check(gate.await(f.ctx))

			brought := f.b.brings(tenant, documentOf(tenant, tokens))
			if brought.Status != "refreshing" {
				t.Errorf("status %q", brought.Status)
			}
			for _, w := range []*world{f.b, f.c} {
				waiting = append(waiting, w.deliver(request{tenant: tenant, id: tenant + w.caddy.Address, body: randomBytes(kib)}))
			}
			f.remains(time.Second, func() error {
				if got := len(f.auth.Of(tenant)); got != 1 {
					return fmt.Errorf("%d token requests", got)
				}
				return nil
			})
			gate.open()
			for _, served := range waiting {
				f.check(<-served)
			}
			f.settled(tenant)
			f.asked(tenant, authserver.Rotated)
			f.check(f.hasStatus(tenant, "ready"))
		})
	}
}

// Operators who switch refreshes off are obeyed also after the tenant has brought new
// tokens, until they switch them on.
func TestDisabledOutlivesABroughtCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.withAPI(configuration{store: patientVault}, ""))
	w.seed("acme")
	off := w.answers(call{path: "/tenants/acme", token: w.operator(), body: `{"disabled":true}`}, http.StatusOK, "")
	tokens, err := w.auth.Seed("acme")
	w.check(err)
	on := w.brings("acme", documentOf("acme", tokens))
	if !off.Disabled || !on.Disabled {
		t.Errorf("switched off: %t, and after a write of the tenant's: %t", off.Disabled, on.Disabled)
	}
	w.answers(call{token: w.tokenOf("acme"), body: `{"disabled":false}`}, http.StatusForbidden, "access_denied")
	w.check(w.sends("acme", tokens.Access))
	w.check(w.auth.Expire("acme"))
	res := w.expect(request{tenant: "acme", id: "expired"}, http.StatusUnauthorized)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" {
		t.Errorf("code %q", code)
	}
	w.asked("acme")
	w.answers(call{path: "/tenants/acme", token: w.operator(), body: `{"disabled":false}`}, http.StatusOK, "")
	w.recoversWithin(5*time.Second, "acme")
	w.settled("acme")
	w.asked("acme", authserver.Rotated)
}
