package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// A thousand requests at three replicas meet one token that the upstream has
// stopped accepting: one of the replicas spends the refresh token, once, and every
// request arrives once, whole.
func TestAThousandRequestsAtThreeReplicasRefreshOnce(t *testing.T) {
	// A busy machine that runs all of this may keep Vault waiting.
	f := newFleet(t, configuration{quiet: true, store: "timeout 20s"})
	const count, rounds = 1000, 2
	for round := range rounds {
		tenant := fmt.Sprint("tenant-", round)
		f.seedExpired(tenant)
		var requests []request
		for i := range count {
			requests = append(requests, request{
				proto:  []string{"HTTP/1.1", "h2c"}[i%2],
				tenant: tenant, id: fmt.Sprintf("%s request %d", tenant, i),
				body: randomBytes(1 + i%7*kib), chunked: i%5 == 0,
			})
		}
		// The answer waits until all have been rejected, or for as long as a token
		// request safely may take.
		f.auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
			return authserver.Behaviour{Before: func() {
				ctx, cancel := context.WithTimeout(f.ctx, 6*time.Second)
				defer cancel()
				for _, r := range requests {
					_ = f.api.Await(ctx, r.id, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done })
				}
			}}
		})

		var all sync.WaitGroup
		failures := make([]error, count)
		for i, r := range requests {
			at := f.replicas()[i%3]
			all.Go(func() {
				res, err := at.send(at.ctx, r)
				if err == nil {
					err = at.delivered(r, res)
				}
				failures[i] = err
			})
		}
		all.Wait()

		f.asked(tenant, authserver.Rotated)
		failed, replayed := 0, 0
		for i, r := range requests {
			if len(f.api.Attempts(r.id)) == 2 {
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
		f.settled(tenant)
		t.Logf("%d requests, %d of them rejected and replayed, %d token request", count, replayed, len(f.auth.Of(tenant)))
	}
}

// What one replica has refreshed the others use without a token request of their
// own, whenever they find out.
func TestReplicasAdoptEachOthersTokens(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{store: "cache_ttl 1h"})
	f.seed("acme")
	for _, w := range f.replicas() {
		w.expect(request{tenant: "acme", id: "first"}, 200)
	}
	for round := range 5 {
		f.check(f.auth.Expire("acme"))
		for i := range 3 {
			w := f.replicas()[(round+i)%3]
			r := request{tenant: "acme", id: fmt.Sprint("round ", round, " replica ", i), body: randomBytes(kib)}
			w.check(w.delivered(r, w.must(r)))
		}
	}
	f.settled("acme")
	if got := len(f.auth.Of("acme")); got != 5 {
		t.Errorf("%d token requests in 5 rounds", got)
	}
}
