package proxy

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
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Reloads under load, with the same configuration and with changed ones, fail no
// request, refresh nothing twice, lose no token and leave nothing behind.
func TestReloadUnderLoad(t *testing.T) {
	w := world.New(t)
	overH1 := world.Site{Name: "over-h1", Log: true}
	overH2C := world.Site{Name: "over-h2c", Log: true, Handler: "transport http {\nversions h2c\n}"}
	sites := []world.Site{overH1, overH2C}
	otherH1, otherH2C := overH1, overH2C
	otherH1.Handler += "\nreplay_memory 4KiB"
	otherH2C.Handler += "\nreplay_dir off"
	same := world.Configuration{Sites: sites}
	changed := []world.Configuration{
		{Sites: sites, Global: "shutdown_delay 10ms"},
		{Sites: sites, Store: "cache_ttl 3s"},
		{Sites: sites, OAuth2: "refresh_ahead 10s"},
		{Sites: sites, Provider: "header Authorization \"Bearer {credential.access_token}\"\nheader X-Account {credential.account}"},
		{Sites: []world.Site{otherH1, otherH2C}},
	}

	w.Start(same)
	var tenants []string
	for i := range 5 {
		tenants = append(tenants, fmt.Sprint("tenant-", i))
		w.SeedExpired(tenants[i])
	}
	w.Expect(world.Request{Site: overH1.Name, Tenant: tenants[0], ID: "before the load"}, 200)
	before := ourGoroutines(w)
	ctx, stop := context.WithCancel(w.Ctx)
	defer stop()
	load := startLoad(w, ctx, tenants)
	for round := range 2 {
		for i, c := range changed {
			load.expire(w)
			w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(same)))
			load.await(w, 10)
			load.expire(w)
			if (round+i)%5 == 0 {
				w.Check(w.Caddy.Reload(w.Ctx, w.Caddyfile(c)))
			} else {
				w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(c)))
			}
			load.await(w, 10)
		}
	}
	stop()
	load.workers.Wait()
	t.Logf("%d requests, %d sent again", load.sent.Load(), load.again.Load())
	w.Settled(tenants...)
	for _, e := range w.Auth.Ledger() {
		if e.Outcome != authserver.Rotated {
			t.Errorf("a token request ended as %s", e.Outcome)
		}
	}
	// Whatever reached a handler was answered well, also what a client lost.
	answered := 0
	for _, s := range sites {
		for id, lines := range accessLog(w, s.Name) {
			if answered++; len(lines) != 1 || lines[0].Status != 200 {
				t.Errorf("%s was answered with %v", id, lines)
			}
		}
	}
	if sent := int(load.sent.Load()) + 1; answered != sent {
		t.Errorf("%d requests in the access logs, not %d", answered, sent)
	}
	w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(same)))
	w.Eventually(func() error {
		if after := ourGoroutines(w); after > before {
			return fmt.Errorf("%d goroutines of ours, at first %d", after, before)
		}
		return nil
	})
}

// ourGoroutines counts the goroutines of Caddy that are in code of ours, but for those that
// read connections to upstreams, which are net/http's.
func ourGoroutines(w *world.World) int {
	w.Helper()
	dump, err := w.Caddy.Get(w.Ctx, "/debug/pprof/goroutine?debug=2")
	w.Check(err)
	count := 0
	for stack := range bytes.SplitSeq(dump, []byte("\n\n")) {
		if bytes.Contains(stack, []byte("upstreamauth/caddy-upstream-auth/")) && !bytes.Contains(stack, []byte("(*earlyAnswers).Read(")) {
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

func startLoad(w *world.World, ctx context.Context, tenants []string) *load {
	l := new(load)
	for _, tenant := range tenants {
		l.tenants = append(l.tenants, &loadedTenant{name: tenant})
	}
	for i, y := range append(allWays, allWays...) {
		l.workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tenant := l.tenants[(i+n)%len(tenants)]
				r := world.Request{Proto: y.proto, Site: y.site, Tenant: tenant.name, ID: fmt.Sprintf("%s worker %d request %d", y, i, n)}
				if n%2 == 1 {
					r.Body, r.Chunked = world.RandomBytes(20*world.KiB*(n%7)), n%4 == 1
				}
				tenant.RLock()
				res, again, err := w.Insist(r)
				tenant.RUnlock()
				l.again.Add(again)
				if err == nil {
					err = w.Delivered(r, res)
				}
				if err != nil {
					w.Errorf("%s: %v", r.ID, err)
				}
				l.sent.Add(1)
			}
		})
	}
	return l
}

// expire ends the life of all access tokens.
func (l *load) expire(w *world.World) {
	w.Helper()
	for _, tenant := range l.tenants {
		tenant.Lock()
		w.Check(w.Auth.Expire(tenant.name))
		tenant.Unlock()
	}
}

// await waits until n more requests were answered.
func (l *load) await(w *world.World, n int64) {
	w.Helper()
	target := l.sent.Load() + n
	w.Eventually(func() error {
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
	w := world.New(t)
	first := world.Configuration{}
	w.Start(first)
	for name, next := range map[string]world.Configuration{
		"same":             first,
		"another site":     {Sites: []world.Site{{Handler: "replay_memory 4KiB"}}},
		"another provider": {OAuth2: "refresh_ahead 10s"},
		"another store":    {Store: "cache_ttl 5s"},
	} {
		for _, proto := range []string{"HTTP/1.1", "h2c"} {
			t.Run(name+" "+proto, func(t *testing.T) {
				w := w.Within(t)
				tenant := strings.NewReplacer(" ", "-", "/", "-").Replace(name + proto)
				w.SeedExpired(tenant)
				gate, asked := make(chan struct{}), make(chan struct{}, 10)
				w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{Before: func() { asked <- struct{}{}; <-gate }}
				})
				defer w.Auth.Play(nil)

				before := world.Request{Proto: proto, Tenant: tenant, ID: tenant + " before", Body: world.RandomBytes(200 * world.KiB), Chunked: true}
				done := w.Deliver(before)
				<-asked
				w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(next)))
				after := world.Request{Proto: proto, Tenant: tenant, ID: tenant + " after", Body: world.RandomBytes(200 * world.KiB)}
				doneAfter := w.Deliver(after)
				w.Check(w.API.Await(w.Ctx, after.ID, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done }))
				select {
				case <-asked:
					t.Error("the refresh token was spent again")
				case <-time.After(200 * time.Millisecond):
				}
				close(gate)
				w.Check(<-done)
				w.Check(<-doneAfter)
				w.Settled(tenant)
				w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(first)))
			})
		}
	}
}

// A Caddy that is told to end does so only when the tokens that it asked for are
// in Vault, even if nobody waits for them any more.
func TestStopWaitsForTheRefresh(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	w.SeedExpired("acme")
	asked, gate := make(chan struct{}), make(chan struct{})
	w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { close(asked); <-gate }}
	})
	ctx, hangUp := context.WithCancel(w.Ctx)
	gone := make(chan error)
	go func() {
		_, err := w.Send(ctx, world.Request{Tenant: "acme", ID: "never mind"})
		gone <- err
	}()
	<-asked
	hangUp()
	<-gone

	stopped := make(chan error)
	go func() { stopped <- w.Caddy.Stop(w.Ctx) }()
	select {
	case <-w.Caddy.Exited():
		t.Error("caddy ended during a refresh")
	case <-time.After(2 * time.Second): // far longer than it takes to end
	}
	close(gate)
	w.Check(<-stopped)
	w.Check(w.NewestStored("acme"))
}
