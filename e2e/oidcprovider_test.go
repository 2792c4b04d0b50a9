package e2e

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
)

// An authorization server of another make answers 12 s after it has rotated. Its answer
// is heard, so that it sees no token twice, for which it would revoke the grant.
func TestLateAnswerOfOIDCProviderIsHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := rand.Text() // it takes no umlauts
	w.file("client-secret", secret+"\n")
	w.secrets.Add("the client secret", secret)
	p, err := sdk.StartOIDCProvider(w.ctx, sdk.OIDCOptions{ClientID: "sidecar", ClientSecret: secret, Delay: 12 * time.Second})
	w.check(err)
	t.Cleanup(p.Kill)
	w.authURL = p.URL
	w.api.Subject = func(access string) (tenant string, current bool) {
		tenant, current, err := p.Subject(w.ctx, access)
		return tenant, current && err == nil
	}
	c := configuration{quiet: true, store: "timeout 20s"}
	s := &slowRefresh{world: w, replicas: []*world{w.replica(c, "a", t.TempDir()), w.replica(c, "b", t.TempDir())}}
	tenants := make(map[string]time.Duration)
	for i := range 3 {
		tenant := fmt.Sprint("tenant-", i)
		tenants[tenant] = 0
		tokens, err := p.Seed(w.ctx, tenant)
		w.check(err)
		w.secrets.Add("a token", tokens.Access)
		w.secrets.Add("a token", tokens.Refresh)
		w.store(tenant, documentOf(tenant, authserver.Tokens{
			Access: "one-that-has-expired", Refresh: tokens.Refresh, Expires: time.Now().Add(time.Hour),
		}))
	}
	s.request(tenants)()
	defer func() {
		requests, err := p.Requests(w.ctx)
		if err != nil || len(requests) != len(tenants) {
			t.Errorf("%d token requests for %d tenants: %+v, %v", len(requests), len(tenants), requests, err)
		}
	}()

	for tenant := range tenants {
		for _, r := range s.replicas {
			r.recoversWithin(15*time.Second, tenant)
		}
		w.eventually(func() error { return w.hasStatus(tenant, "ready") })
		d, err := w.stored(tenant)
		if account, current := w.api.Subject(d.AccessToken); err != nil || !current || account != tenant {
			t.Errorf("%s: the access token in Vault is not good: %v", tenant, err)
		}
	}
}
