package refresh

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A thousand requests at three replicas meet one token that the upstream has
// stopped accepting: one of the replicas spends the refresh token, once, and every
// request arrives once, whole.
func TestAThousandRequestsAtThreeReplicasRefreshOnce(t *testing.T) {
	// A busy machine that runs all of this may keep Vault waiting.
	f := world.NewFleet(t, world.Configuration{Quiet: true, Store: "timeout 20s"})
	const count, rounds = 1000, 2
	for round := range rounds {
		tenant := fmt.Sprint("tenant-", round)
		f.SeedExpired(tenant)
		var requests []world.Request
		for i := range count {
			requests = append(requests, world.Request{
				Proto:  []string{"HTTP/1.1", "h2c"}[i%2],
				Tenant: tenant, ID: fmt.Sprintf("%s request %d", tenant, i),
				Body: world.RandomBytes(1 + i%7*world.KiB), Chunked: i%5 == 0,
			})
		}
		// The answer waits until all have been rejected, or for as long as a token
		// request safely may take.
		f.Auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
			return authserver.Behaviour{Before: func() {
				ctx, cancel := context.WithTimeout(f.Ctx, 6*time.Second)
				defer cancel()
				for _, r := range requests {
					_ = f.API.Await(ctx, r.ID, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done })
				}
			}}
		})

		var all sync.WaitGroup
		failures := make([]error, count)
		for i, r := range requests {
			at := f.Replicas()[i%3]
			all.Go(func() {
				res, err := at.Send(at.Ctx, r)
				if err == nil {
					err = at.Delivered(r, res)
				}
				failures[i] = err
			})
		}
		all.Wait()

		f.Asked(tenant, authserver.Rotated)
		failed, replayed := 0, 0
		for i, r := range requests {
			if len(f.API.Attempts(r.ID)) == 2 {
				replayed++
			}
			if failures[i] == nil {
				continue
			}
			if failed++; failed <= 5 {
				t.Error(failures[i])
			}
		}
		if failed > 0 {
			t.Fatalf("%d requests failed", failed)
		}
		f.Settled(tenant)
		t.Logf("%d requests, %d of them rejected and replayed, %d token request", count, replayed, len(f.Auth.Of(tenant)))
	}
}

// What one replica has refreshed the others use without a token request of their
// own, whenever they find out.
func TestReplicasAdoptEachOthersTokens(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{Store: "cache_ttl 1h"})
	f.Seed("acme")
	for _, w := range f.Replicas() {
		w.Expect(world.Request{Tenant: "acme", ID: "first"}, 200)
	}
	for round := range 5 {
		f.Check(f.Auth.Expire("acme"))
		for i := range 3 {
			w := f.Replicas()[(round+i)%3]
			r := world.Request{Tenant: "acme", ID: fmt.Sprint("round ", round, " replica ", i), Body: world.RandomBytes(world.KiB)}
			w.Check(w.Delivered(r, w.Must(r)))
		}
	}
	f.Settled("acme")
	if got := len(f.Auth.Of("acme")); got != 5 {
		t.Errorf("%d token requests in 5 rounds", got)
	}
}
