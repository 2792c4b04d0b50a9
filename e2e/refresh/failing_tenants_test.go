package refresh

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What the token endpoint answers to some tenants is no reason to keep it from the
// others: while it fails for a tenth of them, and for a third, each of the rest is
// served as soon as ever.
func TestTenantsWhoseRefreshFailsDelayNoOthers(t *testing.T) {
	t.Parallel()
	const endpointTime, healthyCount = 200 * time.Millisecond, 20
	w := world.New(t)
	w.Start(world.Configuration{Quiet: true, Store: "timeout 20s"})
	w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { world.Pause(w.Ctx, endpointTime) }}
	})
	var tenants []string
	for i := range 30 {
		tenants = append(tenants, fmt.Sprintf("tenant-%02d", i))
		w.Seed(tenants[i])
	}
	healthy, others := tenants[:healthyCount], tenants[healthyCount:]
	// How long it takes here with nobody in trouble, the second time all thirty at once.
	usual := time.Duration(0)
	for round := range 2 {
		w.ExpireAll(tenants)
		usual = 0
		for _, took := range servedAfter(w, tenants, fmt.Sprint("when all is well ", round), 15*time.Second) {
			usual = max(usual, took)
		}
	}
	// A second beyond that, and what a busy machine may make of it.
	limit := usual + usual/2 + time.Second

	for _, failing := range [][]string{others[:3], others} {
		t.Run(fmt.Sprintf("%d of %d", len(failing), len(tenants)), func(t *testing.T) {
			w := w.Within(t)
			for _, tenant := range failing {
				w.Auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{
						Before: func() { world.Pause(w.Ctx, endpointTime) },
						Instead: func(rw http.ResponseWriter, _ *http.Request) {
							http.Error(rw, "internal error", http.StatusInternalServerError)
						},
					}
				})
			}
			ctx, stop := context.WithCancel(w.Ctx)
			var load sync.WaitGroup
			w.ExpireAll(failing)
			before := len(w.Auth.Ledger())
			for _, tenant := range failing {
				load.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						_, _ = w.Send(ctx, world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " of ", len(failing), " fails ", n)})
						world.Pause(ctx, 100*time.Millisecond)
					}
				})
			}
			// First when they have failed only just, then when they have for a while.
			soon, cancel := context.WithTimeout(w.Ctx, 10*time.Second)
			_ = w.Auth.Await(soon, func(entries []authserver.Entry) bool {
				refused := 0
				for _, e := range entries[before:] {
					if e.Outcome == authserver.Refused {
						refused++
					}
				}
				return refused >= len(failing)
			})
			cancel()
			for round := range 2 {
				w.ExpireAll(healthy)
				slowest := time.Duration(0)
				id := fmt.Sprint("beside ", len(failing), " in round ", round)
				for _, took := range servedAfter(w, healthy, id, limit+5*time.Second) {
					slowest = max(slowest, took)
				}
				t.Logf("round %d: all served after %v; with nobody in trouble after %v", round, slowest, usual)
				if slowest > limit {
					t.Errorf("round %d: somebody was not served within %v", round, limit)
				}
				world.Pause(w.Ctx, time.Second)
			}
			stop()
			load.Wait()
			for _, tenant := range failing {
				w.Auth.PlayFor(tenant, nil)
			}
		})
	}
}

// servedAfter sends requests for all tenants at once, each again until it is served or
// a limit has passed, and returns how long that took.
func servedAfter(w *world.World, tenants []string, id string, limit time.Duration) map[string]time.Duration {
	ctx, cancel := context.WithTimeout(w.Ctx, limit)
	defer cancel()
	took := make(map[string]time.Duration)
	var mu sync.Mutex
	var all sync.WaitGroup
	begun := time.Now()
	for _, tenant := range tenants {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " ", id, " ", n)}
				if res, err := w.Send(ctx, r); err == nil && w.Delivered(r, res) == nil {
					break
				}
				world.Pause(ctx, 50*time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			took[tenant] = time.Since(begun).Round(time.Millisecond)
		})
	}
	all.Wait()
	return took
}
