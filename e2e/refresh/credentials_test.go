package refresh

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What is brought in the middle of a refresh wins over what the refresh brings, if its
// refresh token is another one.
func TestOtherTokensDuringARefresh(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	f := w.Fleet(w.WithAPI(world.Configuration{Store: world.PatientVault + "cache_ttl 1ms"}, ""))
	for name, at := range map[string]*world.World{"same": f.A, "other": f.B} {
		for moment, hold := range map[string]func(tenant string) *world.Gate{
			atEndpoint: func(tenant string) *world.Gate { return f.HoldRefresh(tenant, world.BeforeRotation) },
			atCommit:   func(tenant string) *world.Gate { return holdWrite(f.World, tenant, "ready", false) },
		} {
			t.Run(name+" replica "+moment, func(t *testing.T) {
				f, at := f.Within(t), at.Within(t)
				tenant := world.TenantName(name + moment)
				f.SeedExpired(tenant)
				gate := hold(tenant)
				served := f.A.Deliver(world.Request{Tenant: tenant, ID: tenant, Body: world.RandomBytes(world.KiB)})
				f.Check(gate.Await(f.Ctx))

				tokens, err := f.Auth.Seed(tenant)
				f.Check(err)
				at.Brings(tenant, world.DocumentOf(tenant, tokens))
				at.Check(at.Sends(tenant, tokens.Access)) // while the refresh is held back
				gate.Open()
				f.Check(<-served)
				remains(f.World, 300*time.Millisecond, func() error {
					held, err := f.Stored(tenant)
					if err == nil && held != world.DocumentOf(tenant, tokens) {
						err = errors.New("what was brought is not in Vault any more")
					}
					return err
				})
				f.Asked(tenant, authserver.Rotated)
				f.Check(f.Auth.Expire(tenant))
				for _, w := range f.Replicas() {
					w.RecoversWithin(5*time.Second, tenant)
				}
				f.Settled(tenant)
				f.Asked(tenant, authserver.Rotated, authserver.Rotated)
			})
		}
	}
}

// A credential with the same refresh token that is brought in the middle of a refresh
// leaves the claim on it: no replica presents the token once more. The new tokens and
// what else was brought are both in Vault in the end.
func TestSameRefreshTokenDuringARefresh(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	f := w.Fleet(w.WithAPI(world.Configuration{Store: world.PatientVault + "cache_ttl 1ms"}, ""))
	for moment, hold := range map[string]func(tenant string) *world.Gate{
		atEndpoint: func(tenant string) *world.Gate { return f.HoldRefresh(tenant, world.BeforeRotation) },
		atCommit:   func(tenant string) *world.Gate { return holdWrite(f.World, tenant, "ready", false) },
	} {
		t.Run(moment, func(t *testing.T) {
			f := f.Within(t)
			tenant := world.TenantName(moment)
			tokens, err := f.Auth.Seed(tenant)
			f.Check(err)
			d := world.DocumentOf(tenant, tokens)
			d.Account = "not yet"
			f.Store(tenant, d)
			f.Check(f.Auth.Expire(tenant))
			gate := hold(tenant)
			waiting := []<-chan error{f.A.Deliver(world.Request{Tenant: tenant, ID: tenant})}
			f.Check(gate.Await(f.Ctx))

			brought := f.B.Brings(tenant, world.DocumentOf(tenant, tokens))
			if brought.Status != "refreshing" {
				t.Errorf("status %q", brought.Status)
			}
			for _, w := range []*world.World{f.B, f.C} {
				waiting = append(waiting, w.Deliver(world.Request{Tenant: tenant, ID: tenant + w.Caddy.Address, Body: world.RandomBytes(world.KiB)}))
			}
			remains(f.World, time.Second, func() error {
				if got := len(f.Auth.Of(tenant)); got != 1 {
					return fmt.Errorf("%d token requests", got)
				}
				return nil
			})
			gate.Open()
			for _, served := range waiting {
				f.Check(<-served)
			}
			f.Settled(tenant)
			f.Asked(tenant, authserver.Rotated)
			f.Check(f.HasStatus(tenant, "ready"))
		})
	}
}

// Operators who switch refreshes off are obeyed also after the tenant has brought new
// tokens, until they switch them on.
func TestDisabledOutlivesABroughtCredential(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(w.WithAPI(world.Configuration{Store: world.PatientVault}, ""))
	w.Seed("acme")
	off := w.Answers(world.Call{Path: "/tenants/acme", Token: w.Operator(), Body: `{"disabled":true}`}, http.StatusOK, "")
	tokens, err := w.Auth.Seed("acme")
	w.Check(err)
	on := w.Brings("acme", world.DocumentOf("acme", tokens))
	if !off.Disabled || !on.Disabled {
		t.Errorf("switched off: %t, and after a write of the tenant's: %t", off.Disabled, on.Disabled)
	}
	w.Answers(world.Call{Token: w.TokenOf("acme"), Body: `{"disabled":false}`}, http.StatusForbidden, "access_denied")
	w.Check(w.Sends("acme", tokens.Access))
	w.Check(w.Auth.Expire("acme"))
	res := w.Expect(world.Request{Tenant: "acme", ID: "expired"}, http.StatusUnauthorized)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" {
		t.Errorf("code %q", code)
	}
	w.Asked("acme")
	w.Answers(world.Call{Path: "/tenants/acme", Token: w.Operator(), Body: `{"disabled":false}`}, http.StatusOK, "")
	w.RecoversWithin(5*time.Second, "acme")
	w.Settled("acme")
	w.Asked("acme", authserver.Rotated)
}
