package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Ten thousand requests with a refresh token that is no good any more ask the
// authorization server once, all replicas together.
func TestDeadRefreshTokenIsPresentedOnce(t *testing.T) {
	f := newFleet(t, configuration{quiet: true, store: "timeout 20s"})
	f.seed("acme")
	f.check(f.auth.Revoke("acme"))
	const count = 10000
	begun := time.Now()
	answers := f.storm(50, []string{"acme"}, count, time.Minute)
	if answers["reauthorization_required"] != count {
		t.Errorf("answers: %v", answers)
	}
	f.asked("acme", authserver.Reused)
	f.check(f.hasStatus("acme", "reauthorization_required"))
	t.Logf("%d requests in %v, %d token request", count, time.Since(begun).Round(time.Millisecond), len(f.auth.Ledger()))
}

// storm sends count requests, so many at a time, to all replicas and for all tenants
// in turn, or as many as it can until some time after the first answer. It returns how
// often each code came with the upstream's 401. Other answers are failures.
func (f *fleet) storm(atATime int, tenants []string, count int64, lasting time.Duration) map[string]int {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var next atomic.Int64
	var workers sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[string]int)
	for range atATime {
		workers.Go(func() {
			for i := next.Add(1); i <= count; i = next.Add(1) {
				tenant := tenants[int(i/3)%len(tenants)]
				w := f.replicas()[i%3]
				res, err := w.send(ctx, request{tenant: tenant, id: fmt.Sprintf("%s in the storm %d", tenant, i)})
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					f.Errorf("%s: %v", tenant, err)
					return
				case res.StatusCode != http.StatusUnauthorized || string(res.body) != "attempt 1":
					f.Errorf("%s: status %d %q", tenant, res.StatusCode, res.body)
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
	const tenantCount, storm = 200, 3 * time.Second
	for name, fault := range map[string]func(*endpoint){
		"refuses connections": func(*endpoint) {},
		"answers 500":         (*endpoint).answer500,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e := w.ownEndpoint()
			f := w.fleet(configuration{quiet: true, store: "timeout 20s"})
			var tenants []string
			for i := range tenantCount {
				tenants = append(tenants, fmt.Sprint("tenant-", i))
				f.seedExpired(tenants[i])
			}
			fault(e)
			codes := f.storm(3*tenantCount, tenants, math.MaxInt64, storm)
			if len(codes) != 1 || codes["refresh_failed"] == 0 {
				t.Errorf("answers: %v", codes)
			}
			t.Logf("%d tenants for %v: %d requests answered, %d connections, %d token requests, %d refreshes that failed",
				tenantCount, storm, codes["refresh_failed"], e.connections.Load(), e.requests.Load(), f.failedRefreshes())
			// Each of the three replicas stops after three silent answers, and those to
			// what was on its way by then. Afterwards it is one after a second, after two,
			// after four.
			if got := e.requests.Load(); got > tenantCount/2 {
				t.Errorf("%d token requests", got)
			}
			if e.connections.Load() == 0 {
				if got := f.failedRefreshes(); got > tenantCount/2 {
					t.Errorf("%d attempts to connect", got)
				}
				for _, tenant := range tenants {
					record, err := f.record(tenant)
					if err != nil || len(record) > 0 {
						t.Fatalf("%s is claimed though nobody can be asked: %v, %v", tenant, record, err)
					}
				}
			}

			// The next try is up to 5 s away, and so may be the end of a tenant's rest
			// after that.
			e.recover()
			f.allRecoverWithin(30*time.Second, tenants)
		})
	}
}

// One tenant's requests have an authorization server that answers 500 asked as often
// as its rests allow, by the one replica that has the claim.
func TestRestsBetweenTokenRequests(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{quiet: true})
	f.seedExpired("acme")
	f.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Instead: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "internal error", http.StatusInternalServerError)
		}}
	})
	codes := f.storm(6, []string{"acme"}, math.MaxInt64, 5*time.Second)
	if len(codes) != 1 || codes["refresh_failed"] == 0 {
		t.Errorf("answers: %v", codes)
	}
	entries := f.auth.Of("acme")
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
	f.auth.Play(nil)
	f.allRecoverWithin(10*time.Second, []string{"acme"})
	f.eventually(func() error { return f.newestStored("acme") })
}

// allRecoverWithin checks that each tenant is served by some replica within a limit.
func (f *fleet) allRecoverWithin(limit time.Duration, tenants []string) {
	f.Helper()
	begun := time.Now()
	round := 0
	f.soon(limit, func() error {
		round++
		failed := make([]error, len(tenants))
		var all sync.WaitGroup
		for i, tenant := range tenants {
			w := f.replicas()[(i+round)%3]
			all.Go(func() {
				ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second) // others may be able to
				defer cancel()
				r := request{tenant: tenant, id: fmt.Sprintf("%s recovers, round %d", tenant, round)}
				res, err := w.send(ctx, r)
				if err == nil {
					err = w.delivered(r, res)
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

// endpoint is where the sidecars look for the authorization server, or for the
// application's credentials.
type endpoint struct {
	*world
	address     string
	connections atomic.Int64
	requests    atomic.Int64
	stop        func()
}

// ownEndpoint gives the world a token endpoint that is down.
func (w *world) ownEndpoint() *endpoint {
	w.Helper()
	e := w.newEndpoint()
	w.authURL = "http://" + e.address
	return e
}

// newEndpoint makes an endpoint that is down.
func (w *world) newEndpoint() *endpoint {
	w.Helper()
	address, err := process.FreeAddress()
	w.check(err)
	e := &endpoint{world: w, address: address, stop: func() {}}
	w.Cleanup(func() { e.stop() })
	return e
}

// serve makes the endpoint what h is.
func (e *endpoint) serve(h http.Handler) {
	e.Helper()
	listener, err := new(net.ListenConfig).Listen(e.ctx, "tcp", e.address)
	e.check(err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.requests.Add(1)
		h.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			e.connections.Add(1)
		}
	}
	server.Start()
	e.stop = server.Close
}

func (e *endpoint) answer500() {
	e.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "internal error", http.StatusInternalServerError)
	}))
}

// recover makes the endpoint the authorization server.
func (e *endpoint) recover() {
	e.Helper()
	e.stop()
	e.serve(e.auth)
}

// failedRefreshes counts the lines of the logs that say so.
func (f *fleet) failedRefreshes() int {
	count := 0
	for _, w := range f.replicas() {
		count += bytes.Count(w.caddy.Output(), []byte(`"msg":"refresh failed"`))
	}
	return count
}
