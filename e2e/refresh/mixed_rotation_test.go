package refresh

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// An authorization server may rotate one tenant's refresh tokens and leave another's
// as they are. That one stays says nothing of the others, which two replicas still
// spend once each.
func TestTokenThatStaysTellsNothingOfOthers(t *testing.T) {
	t.Parallel()
	const rounds, endpointTime, lasting = 4, 300 * time.Millisecond, "lasting"
	w := world.New(t)
	c := world.Configuration{Quiet: true, Store: "timeout 20s\ncache_ttl 1ms"}
	replicas := []*world.World{w.Replica(c, "a", t.TempDir()), w.Replica(c, "b", t.TempDir())}
	w.Auth.Play(func(e authserver.Entry) authserver.Behaviour {
		if e.Tenant == lasting {
			return authserver.Behaviour{Keep: true}
		}
		return authserver.Behaviour{Between: func() { world.Pause(w.Ctx, endpointTime) }}
	})
	w.Seed(lasting)
	var rotating []string
	for i := range 30 {
		rotating = append(rotating, fmt.Sprintf("rotating-%02d", i))
		w.Seed(rotating[i])
	}

	answers := make(map[string]int)
	var mu sync.Mutex
	for round := range rounds {
		for _, r := range replicas { // both have seen that it stays
			w.Check(w.Auth.Expire(lasting))
			r.RecoversWithin(20*time.Second, lasting)
		}
		w.ExpireAll(rotating)
		var all sync.WaitGroup
		for _, tenant := range rotating {
			for i, r := range replicas {
				all.Go(func() {
					res, err := r.Send(w.Ctx, world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " round ", round, " replica ", i)})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					answers[fmt.Sprint(res.StatusCode, " ", res.Header.Get("Upstream-Auth-Error"))]++
				})
			}
		}
		all.Wait()
	}

	t.Logf("answers: %v", answers)
	if twice := w.Auth.PresentedTwice(); len(twice) > 0 {
		t.Errorf("%d refresh tokens were presented twice; the first: %+v", len(twice), twice[0])
	}
	if kept := len(w.Auth.Of(lasting)); kept < rounds*len(replicas) {
		t.Errorf("%d token requests for the token that stays, not %d", kept, rounds*len(replicas))
	}
	for i, r := range replicas {
		const limit = 20 * time.Second
		var lost []string
		for tenant, took := range servedAfter(r, append(rotating, lasting), fmt.Sprint("in the end, replica ", i), limit) {
			if took >= limit {
				lost = append(lost, tenant)
			}
		}
		if len(lost) > 0 {
			t.Fatalf("%d of %d tenants are lost: %v", len(lost), len(rotating)+1, lost)
		}
	}
	for _, tenant := range rotating {
		w.Eventually(func() error { return w.NewestStored(tenant) })
	}
}
