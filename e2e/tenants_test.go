package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// Twenty tenants send everything at once with tokens that the upstream has
// stopped accepting. Each request arrives once, whole, in its tenant's name.
func TestTwentyTenantsAtOnce(t *testing.T) {
	w := newWorld(t)
	// A busy machine that runs all of this may keep Vault waiting.
	w.start(configuration{store: "timeout 20s", sites: bothWays})
	var tenants []string
	for i := range 20 {
		tenants = append(tenants, fmt.Sprintf("tenant-%02d", i))
		w.seed(tenants[i])
	}

	refreshes := 0
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for _, siteName := range []string{"over-h1", "over-h2c"} {
			t.Run(proto+" "+siteName, func(t *testing.T) {
				w := w.within(t)
				w.expireAll(tenants)
				w.everyRequestRejectedOnce(tenants, requests(proto, siteName, 0, kib, mib))
				w.settled(tenants...)
				w.expireAll(tenants)
				// Each tenant has one of the two ways to send so much, in turn.
				large := requests(proto, siteName, 9*mib)
				w.allDelivered(func(i int) []request { return []request{large[0], large[1+(i+refreshes/2)%2]} }, tenants)
				w.settled(tenants...)
				refreshes += 2
				for _, tenant := range tenants {
					if got := len(w.auth.Of(tenant)); got != refreshes {
						t.Errorf("%s: %d refreshes, not %d", tenant, got, refreshes)
					}
				}
			})
		}
	}
	protocols := make(map[string]bool)
	for _, attempt := range w.api.All() {
		protocols[attempt.Proto] = true
	}
	if !protocols["HTTP/1.1"] || !protocols["HTTP/2.0"] {
		t.Errorf("the upstream saw only %v", protocols)
	}
}

// requests are a GET, and POSTs with bodies of the sizes both ways, for any
// tenant.
func requests(proto, siteName string, sizes ...int) []request {
	var all []request
	add := func(r request, kind string) {
		r.proto, r.site, r.id = proto, siteName, fmt.Sprintf("%s %s %v %s", proto, siteName, sizes, kind)
		all = append(all, r)
	}
	add(request{}, "GET")
	for _, size := range sizes {
		body := randomBytes(size)
		add(request{body: body}, fmt.Sprint("POST ", size))
		add(request{body: body, chunked: true}, fmt.Sprint("chunked POST ", size))
	}
	return all
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = random.Read(b)
	return b
}

func (w *world) expireAll(tenants []string) {
	w.Helper()
	for _, tenant := range tenants {
		w.check(w.auth.Expire(tenant))
	}
}

// everyRequestRejectedOnce is allDelivered, with the refresh of each tenant held
// back until all its requests have been rejected: every one has to be replayed.
func (w *world) everyRequestRejectedOnce(tenants []string, requests []request) {
	w.Helper()
	w.auth.Play(func(e authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() {
			for _, r := range requests {
				_ = w.api.Await(w.ctx, r.id+" of "+e.Tenant, func(a []upstream.Attempt) bool { return len(a) > 0 && a[0].Done })
			}
		}}
	})
	defer w.auth.Play(nil)
	w.allDelivered(func(int) []request { return requests }, tenants)
	for _, tenant := range tenants {
		for _, r := range requests {
			attempts := w.api.Attempts(r.id + " of " + tenant)
			if len(attempts) != 2 || attempts[0].Accepted {
				w.Errorf("%s of %s: %d attempts", r.id, tenant, len(attempts))
			}
		}
	}
}

// allDelivered sends the requests of all tenants at once; those of the tenant
// with index i are requests(i).
func (w *world) allDelivered(requests func(i int) []request, tenants []string) {
	w.Helper()
	var all sync.WaitGroup
	for i, tenant := range tenants {
		for _, r := range requests(i) {
			r.id += " of " + tenant
			r.tenant = tenant
			all.Go(func() {
				res, err := w.send(w.ctx, r)
				if err == nil {
					err = w.delivered(r, res)
				}
				if err != nil {
					w.Errorf("%s: %v", r.id, err)
				}
			})
		}
	}
	all.Wait()
}
