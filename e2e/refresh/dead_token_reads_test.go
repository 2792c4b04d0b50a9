package refresh

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A credential whose refresh token was refused for good is read from Vault as often as
// a good one, once in a cache_ttl and replica, however many requests want it.
func TestDeadTokenIsReadAsOftenAsAGoodOne(t *testing.T) {
	t.Parallel()
	const ttl, lasting = 5 * time.Second, 10 * time.Second
	w := world.New(t)
	w.Seed("acme")
	w.Check(w.Auth.Revoke("acme"))
	var replicas []*world.World
	reads := make([]atomic.Int64, 2)
	for i := range reads {
		r := w.OwnTap().Replica(world.Configuration{Quiet: true, Store: "cache_ttl " + ttl.String()}, fmt.Sprint("replica-", i), t.TempDir())
		r.Soon(10*time.Second, func() error { return reauthorization(r, "acme") })
		replicas = append(replicas, r)
	}
	for i, r := range replicas {
		r.Tap.Disturbing(func(req *http.Request, _ []byte) world.VaultFault {
			if world.ReadsOf(req, "acme") {
				reads[i].Add(1)
			}
			return world.VaultFault{}
		})
	}

	begun := time.Now()
	var all sync.WaitGroup
	for _, r := range replicas {
		all.Go(func() {
			for time.Since(begun) < lasting {
				if err := reauthorization(r, "acme"); err != nil {
					t.Error(err)
					return
				}
				world.Pause(w.Ctx, 200*time.Millisecond)
			}
		})
	}
	all.Wait()
	// At the beginning, and after each cache_ttl.
	most := int64(time.Since(begun)/ttl) + 1
	for i := range reads {
		t.Logf("replica %d: %d reads in %v", i, reads[i].Load(), time.Since(begun).Round(time.Millisecond))
		if got := reads[i].Load(); got > most {
			t.Errorf("replica %d: %d reads, not %d", i, got, most)
		}
	}
	w.Asked("acme", authserver.Reused)

	// It is seen in time when a person brings new tokens.
	w.Seed("acme")
	for _, r := range replicas {
		r.RecoversWithin(ttl+3*time.Second, "acme")
	}
}
