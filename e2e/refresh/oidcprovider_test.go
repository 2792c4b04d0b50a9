package refresh

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// An authorization server of another make answers 12 s after it has rotated. Its answer
// is heard, so that it sees no token twice, for which it would revoke the grant.
func TestLateAnswerOfOIDCProviderIsHeard(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	secret := rand.Text() // it takes no umlauts
	w.File("client-secret", secret+"\n")
	w.Secrets.Add("the client secret", secret)
	p, err := sdk.StartOIDCProvider(w.Ctx, sdk.OIDCOptions{ClientID: "sidecar", ClientSecret: secret, Delay: 12 * time.Second})
	w.Check(err)
	t.Cleanup(p.Kill)
	w.AuthURL = p.URL
	w.API.Subject = func(access string) (tenant string, current bool) {
		tenant, current, err := p.Subject(w.Ctx, access)
		return tenant, current && err == nil
	}
	c := world.Configuration{Quiet: true, Store: "timeout 20s"}
	s := &slowRefresh{World: w, replicas: []*world.World{w.Replica(c, "a", t.TempDir()), w.Replica(c, "b", t.TempDir())}}
	tenants := make(map[string]time.Duration)
	for i := range 3 {
		tenant := fmt.Sprint("tenant-", i)
		tenants[tenant] = 0
		tokens, err := p.Seed(w.Ctx, tenant)
		w.Check(err)
		w.Secrets.Add("a token", tokens.Access)
		w.Secrets.Add("a token", tokens.Refresh)
		w.Store(tenant, world.DocumentOf(tenant, authserver.Tokens{
			Access: "one-that-has-expired", Refresh: tokens.Refresh, Expires: time.Now().Add(time.Hour),
		}))
	}
	s.request(tenants)()
	defer func() {
		requests, err := p.Requests(w.Ctx)
		if err != nil || len(requests) != len(tenants) {
			t.Errorf("%d token requests for %d tenants: %+v, %v", len(requests), len(tenants), requests, err)
		}
	}()

	for tenant := range tenants {
		for _, r := range s.replicas {
			r.RecoversWithin(15*time.Second, tenant)
		}
		w.Eventually(func() error { return w.HasStatus(tenant, "ready") })
		d, err := w.Stored(tenant)
		if account, current := w.API.Subject(d.AccessToken); err != nil || !current || account != tenant {
			t.Errorf("%s: the access token in Vault is not good: %v", tenant, err)
		}
	}
}
