package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// With `takeover never`, a token that the endpoint did not look at may be sent again,
// and that is not forgotten when its document is away just then: a soft deletion that is
// taken back does not leave the tenant to a person, nor does a restart in between.
func TestTokenThatWasNotLookedAtWhileItsDocumentWasDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kv := w.vault.root.KVv2("secret")
	c := configuration{quiet: true, store: "cache_ttl 1ms", oauth2: "takeover never"}
	for name, between := range map[string]func(*world){
		"goes on": func(*world) {},
		"restarted": func(w *world) {
			ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
			defer cancel()
			w.check(w.caddy.Stop(ctx))
			w.restart()
		},
		"killed": func(w *world) {
			w.kill()
			w.restart()
		},
	} {
		r := w.replica(c, tenantName(name), t.TempDir())
		t.Run(name, func(t *testing.T) {
			r := r.within(t)
			tenant := tenantName(name)
			r.seedExpired(tenant)
			asked := r.holdRefresh(tenant, func(g *gate) authserver.Behaviour {
				return authserver.Behaviour{Before: g.pass, Instead: authserver.Unavailable("1")}
			})
			answered := make(chan error, 1)
			go func() { answered <- r.ignore(request{tenant: tenant, id: tenant + " while it is busy"}) }()
			r.check(asked.await(r.ctx))
			_, version, err := r.storedRaw(tenant)
			r.check(err)
			r.check(kv.Delete(r.ctx, "upstream-auth/api/"+tenant))
			looked := r.tap.hold(true, func(req *http.Request, _ []byte) bool { return readsOf(req, tenant) })
			r.Cleanup(looked.open)
			asked.open()
			r.check(looked.await(r.ctx)) // so that it knows of the deletion
			looked.open()
			r.check(<-answered)
			between(r)
			r.check(kv.Undelete(r.ctx, "upstream-auth/api/"+tenant, []int{version}))

			r.recoversWithin(20*time.Second, tenant)
			r.asked(tenant, authserver.Refused, authserver.Rotated)
			r.eventually(func() error { return r.newestStored(tenant) })
			r.eventually(func() error { return r.hasStatus(tenant, "ready") })
		})
	}
}
