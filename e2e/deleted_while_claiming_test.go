package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// A tenant that is deleted while a replica looks at older versions, before its first
// claim, stays deleted: a claim's check-and-set alone would bring it back.
func TestTenantDeletedBeforeTheFirstClaimStaysDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(configuration{quiet: true, store: "cache_ttl 1ms"})
	kv := w.vault.root.KVv2("secret")
	for i := range 3 {
		tenant := fmt.Sprint("tenant-", i)
		w.seedExpired(tenant)
		// A second version, so that there is an older one to look at.
		_, err := kv.Patch(w.ctx, "upstream-auth/api/"+tenant, map[string]any{"note": "patched"})
		w.check(err)
		older := w.tap.hold(true, func(r *http.Request, _ []byte) bool {
			return readsOf(r, tenant) && r.URL.Query().Get("version") == "1"
		})
		w.Cleanup(older.open)
		answered := make(chan error, 1)
		go func() { answered <- w.ignore(request{tenant: tenant, id: tenant + " before the deletion"}) }()
		w.check(older.await(w.ctx))
		w.check(kv.Delete(w.ctx, "upstream-auth/api/"+tenant))
		older.open()
		w.check(<-answered)

		w.remains(time.Second, func() error {
			secret, err := w.vault.root.Logical().ReadWithContext(w.ctx, pathOf(tenant))
			if err == nil && secret != nil && secret.Data["data"] != nil {
				err = fmt.Errorf("%s: deleted, and back: %v", tenant, secret.Data["metadata"])
			}
			return err
		})
		w.asked(tenant)
		res := w.expect(request{tenant: tenant, id: tenant + " after the deletion"}, http.StatusForbidden)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "tenant_unknown" {
			t.Errorf("%s: code %q", tenant, code)
		}
	}
}
