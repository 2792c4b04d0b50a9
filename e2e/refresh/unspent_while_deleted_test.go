package refresh

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// With `takeover never`, a token that the endpoint did not look at may be sent again,
// and that is not forgotten when its document is away just then: a soft deletion that is
// taken back does not leave the tenant to a person, nor does a restart in between.
func TestTokenThatWasNotLookedAtWhileItsDocumentWasDeleted(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	kv := w.Vault.Root.KVv2("secret")
	c := world.Configuration{Quiet: true, Store: "cache_ttl 1ms", OAuth2: "takeover never"}
	for name, between := range map[string]func(*world.World){
		"goes on": func(*world.World) {},
		"restarted": func(w *world.World) {
			ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
			defer cancel()
			w.Check(w.Caddy.Stop(ctx))
			w.Restart()
		},
		"killed": func(w *world.World) {
			w.Kill()
			w.Restart()
		},
	} {
		r := w.Replica(c, world.TenantName(name), t.TempDir())
		t.Run(name, func(t *testing.T) {
			r := r.Within(t)
			tenant := world.TenantName(name)
			r.SeedExpired(tenant)
			asked := r.HoldRefresh(tenant, func(g *world.Gate) authserver.Behaviour {
				return authserver.Behaviour{Before: g.Pass, Instead: authserver.Unavailable("1")}
			})
			answered := make(chan error, 1)
			go func() { answered <- r.Ignore(world.Request{Tenant: tenant, ID: tenant + " while it is busy"}) }()
			r.Check(asked.Await(r.Ctx))
			_, version, err := r.StoredRaw(tenant)
			r.Check(err)
			r.Check(kv.Delete(r.Ctx, "upstream-auth/api/"+tenant))
			looked := r.Tap.Hold(true, func(req *http.Request, _ []byte) bool { return world.ReadsOf(req, tenant) })
			r.Cleanup(looked.Open)
			asked.Open()
			r.Check(looked.Await(r.Ctx)) // so that it knows of the deletion
			looked.Open()
			r.Check(<-answered)
			between(r)
			r.Check(kv.Undelete(r.Ctx, "upstream-auth/api/"+tenant, []int{version}))

			r.RecoversWithin(20*time.Second, tenant)
			r.Asked(tenant, authserver.Refused, authserver.Rotated)
			r.Eventually(func() error { return r.NewestStored(tenant) })
			r.Eventually(func() error { return r.HasStatus(tenant, "ready") })
		})
	}
}
