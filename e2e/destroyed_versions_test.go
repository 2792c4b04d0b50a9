package e2e

import (
	"fmt"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Tokens that an operator brings anew are used, and refreshed, at once, though the
// versions before them cannot be read any more: what has gone with them was no claim
// on a token that never stood there.
func TestNewTokensAfterVersionsThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kv := w.vault.root.KVv2("secret")
	for takeover, options := range map[string]string{"10m": "", "never": "takeover never"} {
		r := w.replica(configuration{store: "cache_ttl 1ms", oauth2: options}, takeover, t.TempDir())
		for how, remove := range map[string]func(tenant string, versions []int) error{
			"destroyed": func(tenant string, versions []int) error {
				return kv.Destroy(w.ctx, "upstream-auth/api/"+tenant, versions)
			},
			"deleted": func(tenant string, versions []int) error {
				return kv.DeleteVersions(w.ctx, "upstream-auth/api/"+tenant, versions)
			},
		} {
			t.Run(how+", takeover "+takeover, func(t *testing.T) {
				r := r.within(t)
				tenant := tenantName(how + " " + takeover)
				r.seedExpired(tenant)
				first := request{tenant: tenant, id: tenant + " before"}
				r.check(r.delivered(first, r.must(first)))
				r.eventually(func() error { return r.hasStatus(tenant, "ready") })
				_, newest, err := r.storedRaw(tenant)
				r.check(err)
				var versions []int
				for version := 1; version <= newest; version++ {
					versions = append(versions, version)
				}
				r.check(remove(tenant, versions))

				r.seed(tenant)
				used := request{tenant: tenant, id: tenant + " with new tokens"}
				r.check(r.delivered(used, r.must(used)))
				for round := range 2 {
					r.check(r.auth.Expire(tenant))
					refreshed := request{tenant: tenant, id: fmt.Sprint(tenant, " refreshed ", round)}
					r.check(r.delivered(refreshed, r.must(refreshed)))
					r.eventually(func() error { return r.newestStored(tenant) })
				}
				r.settled(tenant)
				r.asked(tenant, authserver.Rotated, authserver.Rotated, authserver.Rotated)
				r.check(r.hasStatus(tenant, "ready"))
			})
		}
	}
}
