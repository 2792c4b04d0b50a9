package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Ten thousand requests with a refresh token that is no good any more ask the
// authorization server once, all replicas together.
func TestDeadRefreshTokenIsPresentedOnce(t *testing.T) {
	f := world.NewFleet(t, world.Configuration{Quiet: true, Store: "timeout 20s"})
	f.Seed("acme")
	f.Check(f.Auth.Revoke("acme"))
	const count = 10000
	begun := time.Now()
	answers := storm(f, 50, []string{"acme"}, count, time.Minute)
	if answers["reauthorization_required"] != count {
		t.Errorf("answers: %v", answers)
	}
	f.Asked("acme", authserver.Reused)
	f.Check(f.HasStatus("acme", "reauthorization_required"))
	t.Logf("%d requests in %v, %d token request", count, time.Since(begun).Round(time.Millisecond), len(f.Auth.Ledger()))
}

// storm sends count requests, so many at a time, to all replicas and for all tenants
// in turn, or as many as it can until some time after the first answer. It returns how
// often each code came with the upstream's 401. Other answers are failures.
func storm(f *world.Fleet, atATime int, tenants []string, count int64, lasting time.Duration) map[string]int {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Ctx)
	defer cancel()
	var next atomic.Int64
	var workers sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[string]int)
	for range atATime {
		workers.Go(func() {
			for i := next.Add(1); i <= count; i = next.Add(1) {
				tenant := tenants[int(i/3)%len(tenants)]
				w := f.Replicas()[i%3]
				res, err := w.Send(ctx, world.Request{Tenant: tenant, ID: fmt.Sprintf("%s in the storm %d", tenant, i)})
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					f.Errorf("%s: %v", tenant, err)
					return
				case res.StatusCode != http.StatusUnauthorized || string(res.Content) != "attempt 1":
					f.Errorf("%s: status %d %q", tenant, res.StatusCode, res.Content)
					return
				}
				mu.Lock()
				if len(codes) == 0 {
					time.AfterFunc(lasting, cancel)
				}
				codes[res.Header.Get("Upstream-Auth-Error")]++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return codes
}

// A token endpoint that is down is spared, however many requests of however many
// tenants need it. All are served soon after it is back.
func TestTokenEndpointThatIsDownIsSpared(t *testing.T) {
	const tenantCount, lasting = 200, 3 * time.Second
	for name, fault := range map[string]func(*world.Endpoint){
		"refuses connections": func(*world.Endpoint) {},
		"answers 500":         (*world.Endpoint).Answer500,
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			e := w.OwnEndpoint()
			f := w.Fleet(world.Configuration{Quiet: true, Store: "timeout 20s"})
			var tenants []string
			for i := range tenantCount {
				tenants = append(tenants, fmt.Sprint("tenant-", i))
				f.SeedExpired(tenants[i])
			}
			fault(e)
			codes := storm(f, 3*tenantCount, tenants, math.MaxInt64, lasting)
			if len(codes) != 1 || codes["refresh_failed"] == 0 {
				t.Errorf("answers: %v", codes)
			}
			t.Logf("%d tenants for %v: %d requests answered, %d connections, %d token requests, %d refreshes that failed",
				tenantCount, lasting, codes["refresh_failed"], e.Connections.Load(), e.Requests.Load(), failedRefreshes(f))
			// Each of the three replicas stops after three silent answers, and those to
			// what was on its way by then. Afterwards it is one after a second, after two,
			// after four.
			if got := e.Requests.Load(); got > tenantCount/2 {
				t.Errorf("%d token requests", got)
			}
			if e.Connections.Load() == 0 {
				if got := failedRefreshes(f); got > tenantCount/2 {
					t.Errorf("%d attempts to connect", got)
				}
				for _, tenant := range tenants {
					record, err := f.Record(tenant)
					if err != nil || len(record) > 0 {
						t.Fatalf("%s is claimed though nobody can be asked: %v, %v", tenant, record, err)
					}
				}
			}

			// The next try is up to 5 s away, and so may be the end of a tenant's rest
			// after that.
			e.Recover()
			allRecoverWithin(f, 30*time.Second, tenants)
		})
	}
}

// One tenant's requests have an authorization server that answers 500 asked as often
// as its rests allow, by the one replica that has the claim.
func TestRestsBetweenTokenRequests(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{Quiet: true})
	f.SeedExpired("acme")
	f.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Instead: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "internal error", http.StatusInternalServerError)
		}}
	})
	codes := storm(f, 6, []string{"acme"}, math.MaxInt64, 5*time.Second)
	if len(codes) != 1 || codes["refresh_failed"] == 0 {
		t.Errorf("answers: %v", codes)
	}
	entries := f.Auth.Of("acme")
	t.Logf("%d requests answered in 5 s, %d token requests", codes["refresh_failed"], len(entries))
	// At once, after 1 s and after 2 s more; the fourth would be after 7 s.
	if len(entries) < 2 || len(entries) > 3 {
		t.Errorf("%d token requests", len(entries))
	}
	for _, e := range entries {
		if e.Sender != entries[0].Sender {
			t.Errorf("two replicas asked: %+v", entries)
		}
	}
	f.Auth.Play(nil)
	allRecoverWithin(f, 10*time.Second, []string{"acme"})
	f.Eventually(func() error { return f.NewestStored("acme") })
}

// allRecoverWithin checks that each tenant is served by some replica within a limit.
func allRecoverWithin(f *world.Fleet, limit time.Duration, tenants []string) {
	f.Helper()
	begun := time.Now()
	round := 0
	f.Soon(limit, func() error {
		round++
		failed := make([]error, len(tenants))
		var all sync.WaitGroup
		for i, tenant := range tenants {
			w := f.Replicas()[(i+round)%3]
			all.Go(func() {
				ctx, cancel := context.WithTimeout(w.Ctx, 2*time.Second) // others may be able to
				defer cancel()
				r := world.Request{Tenant: tenant, ID: fmt.Sprintf("%s recovers, round %d", tenant, round)}
				res, err := w.Send(ctx, r)
				if err == nil {
					err = w.Delivered(r, res)
				}
				failed[i] = err
			})
		}
		all.Wait()
		var left []string
		for i, tenant := range tenants {
			if failed[i] != nil {
				left = append(left, tenant)
			}
		}
		tenants = left
		return errors.Join(failed...)
	})
	f.Logf("all served after %v", time.Since(begun).Round(time.Millisecond))
}

// failedRefreshes counts the lines of the logs that say so.
func failedRefreshes(f *world.Fleet) int {
	count := 0
	for _, w := range f.Replicas() {
		count += bytes.Count(w.Caddy.Output(), []byte(`"msg":"refresh failed"`))
	}
	return count
}
