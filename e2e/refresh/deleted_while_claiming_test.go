package refresh

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A tenant that is deleted while a replica looks at older versions, before its first
// claim, stays deleted: a claim's check-and-set alone would bring it back.
func TestTenantDeletedBeforeTheFirstClaimStaysDeleted(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(world.Configuration{Quiet: true, Store: "cache_ttl 1ms"})
	kv := w.Vault.Root.KVv2("secret")
	for i := range 3 {
		tenant := fmt.Sprint("tenant-", i)
		w.SeedExpired(tenant)
		// A second version, so that there is an older one to look at.
		_, err := kv.Patch(w.Ctx, "upstream-auth/api/"+tenant, map[string]any{"note": "patched"})
		w.Check(err)
		older := w.Tap.Hold(true, func(r *http.Request, _ []byte) bool {
			return world.ReadsOf(r, tenant) && r.URL.Query().Get("version") == "1"
		})
		w.Cleanup(older.Open)
		answered := make(chan error, 1)
		go func() { answered <- w.Ignore(world.Request{Tenant: tenant, ID: tenant + " before the deletion"}) }()
		w.Check(older.Await(w.Ctx))
		w.Check(kv.Delete(w.Ctx, "upstream-auth/api/"+tenant))
		older.Open()
		w.Check(<-answered)

		remains(w, time.Second, func() error {
			secret, err := w.Vault.Root.Logical().ReadWithContext(w.Ctx, world.PathOf(tenant))
			if err == nil && secret != nil && secret.Data["data"] != nil {
				err = fmt.Errorf("%s: deleted, and back: %v", tenant, secret.Data["metadata"])
			}
			return err
		})
		w.Asked(tenant)
		res := w.Expect(world.Request{Tenant: tenant, ID: tenant + " after the deletion"}, http.StatusForbidden)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "tenant_unknown" {
			t.Errorf("%s: code %q", tenant, code)
		}
	}
}
