package proxy

import (
	"fmt"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Twenty tenants send everything at once with tokens that the upstream has
// stopped accepting. Each request arrives once, whole, in its tenant's name.
func TestTwentyTenantsAtOnce(t *testing.T) {
	w := world.New(t)
	// A busy machine that runs all of this may keep Vault waiting.
	w.Start(world.Configuration{Store: "timeout 20s", Sites: bothWays})
	var tenants []string
	for i := range 20 {
		tenants = append(tenants, fmt.Sprintf("tenant-%02d", i))
		w.Seed(tenants[i])
	}

	refreshes := 0
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for _, siteName := range []string{"over-h1", "over-h2c"} {
			t.Run(proto+" "+siteName, func(t *testing.T) {
				w := w.Within(t)
				w.ExpireAll(tenants)
				everyRequestRejectedOnce(w, tenants, requests(proto, siteName, 0, world.KiB, world.MiB))
				w.Settled(tenants...)
				w.ExpireAll(tenants)
				// Each tenant has one of the two ways to send so much, in turn.
				large := requests(proto, siteName, 9*world.MiB)
				allDelivered(w, func(i int) []world.Request { return []world.Request{large[0], large[1+(i+refreshes/2)%2]} }, tenants)
				w.Settled(tenants...)
				refreshes += 2
				for _, tenant := range tenants {
					if got := len(w.Auth.Of(tenant)); got != refreshes {
						t.Errorf("%s: %d refreshes, not %d", tenant, got, refreshes)
					}
				}
			})
		}
	}
	protocols := make(map[string]bool)
	for _, attempt := range w.API.All() {
		protocols[attempt.Proto] = true
	}
	if !protocols["HTTP/1.1"] || !protocols["HTTP/2.0"] {
		t.Errorf("the upstream saw only %v", protocols)
	}
}

// requests are a GET, and POSTs with bodies of the sizes both ways, for any
// tenant.
func requests(proto, siteName string, sizes ...int) []world.Request {
	var all []world.Request
	add := func(r world.Request, kind string) {
		r.Proto, r.Site, r.ID = proto, siteName, fmt.Sprintf("%s %s %v %s", proto, siteName, sizes, kind)
		all = append(all, r)
	}
	add(world.Request{}, "GET")
	for _, size := range sizes {
		body := world.RandomBytes(size)
		add(world.Request{Body: body}, fmt.Sprint("POST ", size))
		add(world.Request{Body: body, Chunked: true}, fmt.Sprint("chunked POST ", size))
	}
	return all
}

// everyRequestRejectedOnce is allDelivered, with the refresh of each tenant held
// back until all its requests have been rejected: every one has to be replayed.
func everyRequestRejectedOnce(w *world.World, tenants []string, requests []world.Request) {
	w.Helper()
	w.Auth.Play(func(e authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() {
			for _, r := range requests {
				_ = w.API.Await(w.Ctx, r.ID+" of "+e.Tenant, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done })
			}
		}}
	})
	defer w.Auth.Play(nil)
	allDelivered(w, func(int) []world.Request { return requests }, tenants)
	for _, tenant := range tenants {
		for _, r := range requests {
			attempts := w.API.Attempts(r.ID + " of " + tenant)
			if len(attempts) != 2 || attempts[0].Accepted {
				w.Errorf("%s of %s: %d attempts", r.ID, tenant, len(attempts))
			}
		}
	}
}

// allDelivered sends the requests of all tenants at once; those of the tenant
// with index i are requests(i).
func allDelivered(w *world.World, requests func(i int) []world.Request, tenants []string) {
	w.Helper()
	var all sync.WaitGroup
	for i, tenant := range tenants {
		for _, r := range requests(i) {
			r.ID += " of " + tenant
			r.Tenant = tenant
			all.Go(func() {
				res, err := w.Send(w.Ctx, r)
				if err == nil {
					err = w.Delivered(r, res)
				}
				if err != nil {
					w.Errorf("%s: %v", r.ID, err)
				}
			})
		}
	}
	all.Wait()
}
