package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// What the token endpoint answers to some tenants is no reason to keep it from the
// others: while it fails for a tenth of them, and for a third, each of the rest is
// served as soon as ever.
func TestTenantsWhoseRefreshFailsDelayNoOthers(t *testing.T) {
	t.Parallel()
	const endpointTime, healthyCount = 200 * time.Millisecond, 20
	w := newWorld(t)
	w.start(configuration{quiet: true, store: "timeout 20s"})
	w.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { pause(w.ctx, endpointTime) }}
	})
	var tenants []string
	for i := range 30 {
		tenants = append(tenants, fmt.Sprintf("tenant-%02d", i))
		w.seed(tenants[i])
	}
	healthy, others := tenants[:healthyCount], tenants[healthyCount:]
	// How long it takes here with nobody in trouble, the second time all thirty at once.
	usual := time.Duration(0)
	for round := range 2 {
		w.expireAll(tenants)
		usual = 0
		for _, took := range w.servedAfter(tenants, fmt.Sprint("when all is well ", round), 15*time.Second) {
			usual = max(usual, took)
		}
	}
	// A second beyond that, and what a busy machine may make of it.
	limit := usual + usual/2 + time.Second

	for _, failing := range [][]string{others[:3], others} {
		t.Run(fmt.Sprintf("%d of %d", len(failing), len(tenants)), func(t *testing.T) {
			w := w.within(t)
			for _, tenant := range failing {
				w.auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{
						Before: func() { pause(w.ctx, endpointTime) },
						Instead: func(rw http.ResponseWriter, _ *http.Request) {
							http.Error(rw, "internal error", http.StatusInternalServerError)
						},
					}
				})
			}
			ctx, stop := context.WithCancel(w.ctx)
			var load sync.WaitGroup
			w.expireAll(failing)
			before := len(w.auth.Ledger())
			for _, tenant := range failing {
				load.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						_, _ = w.send(ctx, request{tenant: tenant, id: fmt.Sprint(tenant, " of ", len(failing), " fails ", n)})
						pause(ctx, 100*time.Millisecond)
					}
				})
			}
			// First when they have failed only just, then when they have for a while.
			soon, cancel := context.WithTimeout(w.ctx, 10*time.Second)
			_ = w.auth.Await(soon, func(entries []authserver.Entry) bool {
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
				w.expireAll(healthy)
				slowest := time.Duration(0)
				id := fmt.Sprint("beside ", len(failing), " in round ", round)
				for _, took := range w.servedAfter(healthy, id, limit+5*time.Second) {
					slowest = max(slowest, took)
				}
				t.Logf("round %d: all served after %v; with nobody in trouble after %v", round, slowest, usual)
				if slowest > limit {
					t.Errorf("round %d: somebody was not served within %v", round, limit)
				}
				pause(w.ctx, time.Second)
			}
			stop()
			load.Wait()
			for _, tenant := range failing {
				w.auth.PlayFor(tenant, nil)
			}
		})
	}
}

// servedAfter sends requests for all tenants at once, each again until it is served or
// a limit has passed, and returns how long that took.
func (w *world) servedAfter(tenants []string, id string, limit time.Duration) map[string]time.Duration {
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	took := make(map[string]time.Duration)
	var mu sync.Mutex
	var all sync.WaitGroup
	begun := time.Now()
	for _, tenant := range tenants {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r := request{tenant: tenant, id: fmt.Sprint(tenant, " ", id, " ", n)}
				if res, err := w.send(ctx, r); err == nil && w.delivered(r, res) == nil {
					break
				}
				pause(ctx, 50*time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			took[tenant] = time.Since(begun).Round(time.Millisecond)
		})
	}
	all.Wait()
	return took
}
