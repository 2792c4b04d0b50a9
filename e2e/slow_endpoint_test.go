package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// letGo is how long a request waits for a refresh, and what a busy machine adds.
const letGo = 15*time.Second + 5*time.Second

// A token endpoint that rotates at once and answers late is listened to: each refresh
// token is presented once, and its successor is not lost. The app's request is let go
// with its own 401 when that takes too long; a later one gets the new token.
func TestLateAnswerOfTheTokenEndpointIsHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := configuration{quiet: true, store: "timeout 20s"}
	s := &slowRefresh{world: w, replicas: []*world{w.replica(c, "a", t.TempDir()), w.replica(c, "b", t.TempDir())}}
	delays := map[string]time.Duration{"late": 26 * time.Second}
	for i := range 5 {
		delays[fmt.Sprint("tenant-", i)] = 11*time.Second + time.Duration(i)*250*time.Millisecond
	}
	w.auth.Play(func(e authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Between: func() { pause(w.ctx, delays[e.Tenant]) }}
	})
	for tenant := range delays {
		w.seedExpired(tenant)
	}
	done := s.request(delays)

	// Who comes when others have waited for long enough is answered at once.
	pause(w.ctx, letGo)
	for i, r := range s.replicas {
		if took, answer := r.timed("late", fmt.Sprint("after the others ", i)); answer != "401 refresh_failed" || took > 2*time.Second {
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
	w := newWorld(t)
	c := configuration{quiet: true, store: "timeout 20s"}
	s := &slowRefresh{world: w}
	for _, name := range []string{"a", "b"} {
		r := w.ownTap().replica(c, name, t.TempDir())
		r.tap.disturbing(func(r *http.Request, _ []byte) vaultFault {
			if r.Method != http.MethodGet && isCredential(r) {
				return vaultFault{before: 2500 * time.Millisecond}
			}
			return vaultFault{}
		})
		s.replicas = append(s.replicas, r)
	}
	w.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Between: func() { pause(w.ctx, 8*time.Second) }}
	})
	delays := make(map[string]time.Duration)
	for i := range 5 {
		tenant := fmt.Sprint("tenant-", i)
		delays[tenant] = 8 * time.Second
		w.seedExpired(tenant)
	}
	s.request(delays)()
	s.each(delays)
}

// slowRefresh is replicas that refresh slowly.
type slowRefresh struct {
	*world
	replicas []*world
}

// request sends a request for each tenant to each replica. The function that it returns
// waits for the answers, none of which may take too long, nor tell of a failure for
// good.
func (s *slowRefresh) request(tenants map[string]time.Duration) (done func()) {
	var all sync.WaitGroup
	for tenant := range tenants {
		for i, r := range s.replicas {
			all.Go(func() {
				took, answer := r.timed(tenant, fmt.Sprint("replica ", i))
				if answer != "200" && answer != "401 refresh_failed" || took > letGo {
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
		s.soon(15*time.Second, func() error { return s.newestStored(tenant) })
		for _, r := range s.replicas {
			r.recoversWithin(10*time.Second, tenant)
		}
		s.asked(tenant, authserver.Rotated)
		s.eventually(func() error { return s.hasStatus(tenant, "ready") })
	}
}

// timed sends a request of a tenant. It returns how long the answer took, and its
// status and code.
func (w *world) timed(tenant, id string) (took time.Duration, answer string) {
	begun := time.Now()
	res, err := w.send(w.ctx, request{tenant: tenant, id: tenant + " " + id})
	took = time.Since(begun).Round(time.Millisecond)
	if err != nil {
		return took, err.Error()
	}
	answer = fmt.Sprint(res.StatusCode)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "" {
		answer += " " + code
	}
	return took, answer
}
