package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// Reloads under load, with the same configuration and with changed ones, fail no
// request, refresh nothing twice, lose no token and leave nothing behind.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t)
	overH1 := site{name: "over-h1", log: true}
	overH2C := site{name: "over-h2c", log: true, handler: "transport http {\nversions h2c\n}"}
	sites := []site{overH1, overH2C}
	otherH1, otherH2C := overH1, overH2C
	otherH1.handler += "\nreplay_memory 4KiB"
	otherH2C.handler += "\nreplay_dir off"
	same := configuration{sites: sites}
	changed := []configuration{
		{sites: sites, global: "shutdown_delay 10ms"},
		{sites: sites, store: "cache_ttl 3s"},
		{sites: sites, oauth2: "refresh_ahead 10s"},
		{sites: sites, provider: "header Authorization \"Bearer {credential.access_token}\"\nheader X-Account {credential.account}"},
		{sites: []site{otherH1, otherH2C}},
	}

	w.start(same)
	var tenants []string
	for i := range 5 {
		tenants = append(tenants, fmt.Sprint("tenant-", i))
		w.seedExpired(tenants[i])
	}
	w.expect(request{site: overH1.name, tenant: tenants[0], id: "before the load"}, 200)
	before := w.ourGoroutines()
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	load := w.load(ctx, tenants)
	for round := range 2 {
		for i, c := range changed {
			load.expire(w)
			w.check(w.caddy.Load(w.ctx, w.caddyfile(same)))
			load.await(w, 10)
			load.expire(w)
			if (round+i)%5 == 0 {
				w.check(w.caddy.Reload(w.ctx, w.caddyfile(c)))
			} else {
				w.check(w.caddy.Load(w.ctx, w.caddyfile(c)))
			}
			load.await(w, 10)
		}
	}
	stop()
	load.workers.Wait()
	t.Logf("%d requests, %d sent again", load.sent.Load(), load.again.Load())
	w.settled(tenants...)
	for _, e := range w.auth.Ledger() {
		if e.Outcome != authserver.Rotated {
			t.Errorf("a token request ended as %s", e.Outcome)
		}
	}
	// Whatever reached a handler was answered well, also what a client lost.
	answered := 0
	for _, s := range sites {
		for id, statuses := range w.accessLog(s.name) {
			if answered++; len(statuses) != 1 || statuses[0] != 200 {
				t.Errorf("%s was answered with %v", id, statuses)
			}
		}
	}
	if sent := int(load.sent.Load()) + 1; answered != sent {
		t.Errorf("%d requests in the access logs, not %d", answered, sent)
	}
	w.check(w.caddy.Load(w.ctx, w.caddyfile(same)))
	w.eventually(func() error {
		if after := w.ourGoroutines(); after > before {
			return fmt.Errorf("%d goroutines of ours, at first %d", after, before)
		}
		return nil
	})
}

// ourGoroutines counts the goroutines of Caddy that are in code of ours.
func (w *world) ourGoroutines() int {
	w.Helper()
	dump, err := w.caddy.Get(w.ctx, "/debug/pprof/goroutine?debug=2")
	w.check(err)
	count := 0
	for stack := range bytes.SplitSeq(dump, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("upstreamauth/caddy-upstream-auth/")) {
			count++
		}
	}
	return count
}

// load is requests that are sent for as long as a context lasts.
type load struct {
	workers sync.WaitGroup
	sent    atomic.Int64 // and answered
	again   atomic.Int64 // lost with their connection, and sent again
	tenants []*loadedTenant
}

// loadedTenant is read-locked for each request, so that none of them meets two
// expiries of its token: the second 401 would be the app's.
type loadedTenant struct {
	sync.RWMutex
	name string
}

func (w *world) load(ctx context.Context, tenants []string) *load {
	l := new(load)
	for _, tenant := range tenants {
		l.tenants = append(l.tenants, &loadedTenant{name: tenant})
	}
	for i, y := range append(allWays, allWays...) {
		l.workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tenant := l.tenants[(i+n)%len(tenants)]
				r := request{proto: y.proto, site: y.site, tenant: tenant.name, id: fmt.Sprintf("%s worker %d request %d", y, i, n)}
				if n%2 == 1 {
					r.body, r.chunked = randomBytes(20*kib*(n%7)), n%4 == 1
				}
				tenant.RLock()
				res, again, err := w.insist(r)
				tenant.RUnlock()
				l.again.Add(again)
				if err == nil {
					err = w.delivered(r, res)
				}
				if err != nil {
					w.Errorf("%s: %v", r.id, err)
				}
				l.sent.Add(1)
			}
		})
	}
	return l
}

// expire ends the life of all access tokens.
func (l *load) expire(w *world) {
	w.Helper()
	for _, tenant := range l.tenants {
		tenant.Lock()
		w.check(w.auth.Expire(tenant.name))
		tenant.Unlock()
	}
}

// await waits until n more requests were answered.
func (l *load) await(w *world, n int64) {
	w.Helper()
	target := l.sent.Load() + n
	w.eventually(func() error {
		if sent := l.sent.Load(); sent < target {
			return fmt.Errorf("%d requests, not %d", sent, target)
		}
		return nil
	})
}

// A request that is under way when the configuration changes ends as it would
// have, even where it has to be refreshed after its configuration is gone. Those
// that come in meanwhile do not spend its refresh token a second time.
func TestReloadDuringARefresh(t *testing.T) {
	w := newWorld(t)
	first := configuration{}
	w.start(first)
	for name, next := range map[string]configuration{
		"same":             first,
		"another site":     {sites: []site{{handler: "replay_memory 4KiB"}}},
		"another provider": {oauth2: "refresh_ahead 10s"},
		"another store":    {store: "cache_ttl 5s"},
	} {
		for _, proto := range []string{"HTTP/1.1", "h2c"} {
			t.Run(name+" "+proto, func(t *testing.T) {
				w := w.within(t)
				tenant := strings.NewReplacer(" ", "-", "/", "-").Replace(name + proto)
				w.seedExpired(tenant)
				gate, asked := make(chan struct{}), make(chan struct{}, 10)
				w.auth.Play(func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{Before: func() { asked <- struct{}{}; <-gate }}
				})
				defer w.auth.Play(nil)

				before := request{proto: proto, tenant: tenant, id: tenant + " before", body: randomBytes(200 * kib), chunked: true}
				done := w.deliver(before)
				<-asked
				w.check(w.caddy.Load(w.ctx, w.caddyfile(next)))
				after := request{proto: proto, tenant: tenant, id: tenant + " after", body: randomBytes(200 * kib)}
				doneAfter := w.deliver(after)
				w.check(w.api.Await(w.ctx, after.id, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done }))
				select {
				case <-asked:
					t.Error("the refresh token was spent again")
				case <-time.After(200 * time.Millisecond):
				}
				close(gate)
				w.check(<-done)
				w.check(<-doneAfter)
				w.settled(tenant)
				w.check(w.caddy.Load(w.ctx, w.caddyfile(first)))
			})
		}
	}
}

// insist sends r, again if need be, and counts how often. The HTTP/1.1 server of Go,
// when it shuts down, closes idle connections on which a request is on its way, and
// those on which one has just arrived, without a look at it. That is so with every
// Caddy. What had reached a handler is not sent again.
func (w *world) insist(r request) (res response, again int64, err error) {
	for {
		res, err := w.send(w.ctx, r)
		if err == nil || r.proto != "HTTP/1.1" || w.ctx.Err() != nil {
			return res, again, err
		}
		if attempts := len(w.api.Attempts(r.id)); attempts > 0 {
			return res, again, fmt.Errorf("after %d attempts: %w", attempts, err)
		}
		again++
	}
}

// deliver sends r in the background and checks what comes of it.
func (w *world) deliver(r request) <-chan error {
	done := make(chan error, 1)
	go func() {
		res, _, err := w.insist(r)
		if err == nil {
			err = w.delivered(r, res)
		}
		done <- err
	}()
	return done
}

// A Caddy that is told to end does so only when the tokens that it asked for are
// in Vault, even if nobody waits for them any more.
func TestStopWaitsForTheRefresh(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	w.seedExpired("acme")
	asked, gate := make(chan struct{}), make(chan struct{})
	w.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { close(asked); <-gate }}
	})
	ctx, hangUp := context.WithCancel(w.ctx)
	gone := make(chan error)
	go func() {
		_, err := w.send(ctx, request{tenant: "acme", id: "never mind"})
		gone <- err
	}()
	<-asked
	hangUp()
	<-gone

	stopped := make(chan error)
	go func() { stopped <- w.caddy.Stop(w.ctx) }()
	select {
	case <-w.caddy.Exited():
		t.Error("caddy ended during a refresh")
	case <-time.After(2 * time.Second): // far longer than it takes to end
	}
	close(gate)
	w.check(<-stopped)
	w.check(w.newestStored("acme"))
}
