package refresh

import (
	"fmt"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Tokens that an operator brings anew are used, and refreshed, at once, though the
// versions before them cannot be read any more: what has gone with them was no claim
// on a token that never stood there.
func TestNewTokensAfterVersionsThatAreGone(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	kv := w.Vault.Root.KVv2("secret")
	for takeover, options := range map[string]string{"10m": "", "never": "takeover never"} {
		r := w.Replica(world.Configuration{Store: "cache_ttl 1ms", OAuth2: options}, takeover, t.TempDir())
		for how, remove := range map[string]func(tenant string, versions []int) error{
			"destroyed": func(tenant string, versions []int) error {
				return kv.Destroy(w.Ctx, "upstream-auth/api/"+tenant, versions)
			},
			"deleted": func(tenant string, versions []int) error {
				return kv.DeleteVersions(w.Ctx, "upstream-auth/api/"+tenant, versions)
			},
		} {
			t.Run(how+", takeover "+takeover, func(t *testing.T) {
				r := r.Within(t)
				tenant := world.TenantName(how + " " + takeover)
				r.SeedExpired(tenant)
				first := world.Request{Tenant: tenant, ID: tenant + " before"}
				r.Check(r.Delivered(first, r.Must(first)))
				r.Eventually(func() error { return r.HasStatus(tenant, "ready") })
				_, newest, err := r.StoredRaw(tenant)
				r.Check(err)
				var versions []int
				for version := 1; version <= newest; version++ {
					versions = append(versions, version)
				}
				r.Check(remove(tenant, versions))

				r.Seed(tenant)
				used := world.Request{Tenant: tenant, ID: tenant + " with new tokens"}
				r.Check(r.Delivered(used, r.Must(used)))
				for round := range 2 {
					r.Check(r.Auth.Expire(tenant))
					refreshed := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " refreshed ", round)}
					r.Check(r.Delivered(refreshed, r.Must(refreshed)))
					r.Eventually(func() error { return r.NewestStored(tenant) })
				}
				r.Settled(tenant)
				r.Asked(tenant, authserver.Rotated, authserver.Rotated, authserver.Rotated)
				r.Check(r.HasStatus(tenant, "ready"))
			})
		}
	}
}
