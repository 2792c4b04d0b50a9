package refresh

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A token endpoint that rotates at once and answers late is listened to: each refresh
// token is presented once, and its successor is not lost. The app's request is let go
// with its own 401 when that takes too long; a later one gets the new token.
func TestLateAnswerOfTheTokenEndpointIsHeard(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	c := world.Configuration{Quiet: true, Store: "timeout 20s"}
	s := &slowRefresh{World: w, replicas: []*world.World{w.Replica(c, "a", t.TempDir()), w.Replica(c, "b", t.TempDir())}}
	delays := map[string]time.Duration{"late": 26 * time.Second}
	for i := range 5 {
		delays[fmt.Sprint("tenant-", i)] = 11*time.Second + time.Duration(i)*250*time.Millisecond
	}
	w.Auth.Play(func(e authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Between: func() { world.Pause(w.Ctx, delays[e.Tenant]) }}
	})
	for tenant := range delays {
		w.SeedExpired(tenant)
	}
	done := s.request(delays)

	// Who comes when others have waited for long enough is answered at once.
	world.Pause(w.Ctx, world.LetGo)
	for i, r := range s.replicas {
		if took, answer := r.Timed("late", fmt.Sprint("after the others ", i)); answer != "401 refresh_failed" || took > 2*time.Second {
			t.Errorf("after others have waited in vain: answer %q after %v", answer, took)
		}
	}
	done()
	s.each(delays)
}

// The time that Vault takes is not the token endpoint's: slow writes and a slow
// endpoint together lose no tenant either.
func TestSlowVaultAndSlowTokenEndpointLoseNoTenant(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	c := world.Configuration{Quiet: true, Store: "timeout 20s"}
	s := &slowRefresh{World: w}
	for _, name := range []string{"a", "b"} {
		r := w.OwnTap().Replica(c, name, t.TempDir())
		r.Tap.Disturbing(func(r *http.Request, _ []byte) world.VaultFault {
			if r.Method != http.MethodGet && world.IsCredential(r) {
				return world.VaultFault{Before: 2500 * time.Millisecond}
			}
			return world.VaultFault{}
		})
		s.replicas = append(s.replicas, r)
	}
	w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Between: func() { world.Pause(w.Ctx, 8*time.Second) }}
	})
	delays := make(map[string]time.Duration)
	for i := range 5 {
		tenant := fmt.Sprint("tenant-", i)
		delays[tenant] = 8 * time.Second
		w.SeedExpired(tenant)
	}
	s.request(delays)()
	s.each(delays)
}

// slowRefresh is replicas that refresh slowly.
type slowRefresh struct {
	*world.World
	replicas []*world.World
}

// request sends a request for each tenant to each replica. The function that it returns
// waits for the answers, none of which may take too long, nor tell of a failure for
// good.
func (s *slowRefresh) request(tenants map[string]time.Duration) (done func()) {
	var all sync.WaitGroup
	for tenant := range tenants {
		for i, r := range s.replicas {
			all.Go(func() {
				took, answer := r.Timed(tenant, fmt.Sprint("replica ", i))
				if answer != "200" && answer != "401 refresh_failed" || took > world.LetGo {
					s.Errorf("%s, replica %d: answer %q after %v", tenant, i, answer, took)
				}
			})
		}
	}
	return all.Wait
}

// each checks that all replicas serve all tenants in the end, and that no refresh token
// was presented twice.
func (s *slowRefresh) each(tenants map[string]time.Duration) {
	s.Helper()
	for tenant := range tenants {
		s.Soon(15*time.Second, func() error { return s.NewestStored(tenant) })
		for _, r := range s.replicas {
			r.RecoversWithin(10*time.Second, tenant)
		}
		s.Asked(tenant, authserver.Rotated)
		s.Eventually(func() error { return s.HasStatus(tenant, "ready") })
	}
}
