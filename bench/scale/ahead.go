package scale

import (
	"context"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

const (
	aheadTenants = 500
	refreshAhead = 40 * time.Second
	spread       = refreshAhead / 4
)

// ahead counts when the tokens of many tenants, issued together, are refreshed in the
// background.
func ahead(ctx context.Context, b *setup.Bench) error {
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.close()
	endpoint, err := newTokenEndpoint(ctx)
	if err != nil {
		return err
	}
	defer endpoint.close()

	dir, err := b.Mkdir("ahead")
	if err != nil {
		return err
	}
	tenants := names(aheadTenants)
	// The first may be refreshed in a moment, the last when spread is over.
	expiresAt := time.Now().Add(refreshAhead + spread + 3*time.Second)
	store, err := setup.LocalStore(ctx, dir, tenants, func(tenant string) string {
		return fmt.Sprintf(`{"access_token":"old-%s","refresh_token":"refresh-%s","expires_at":%q}`, tenant, tenant, expiresAt.Format(time.RFC3339))
	})
	if err != nil {
		return err
	}
	options := fmt.Sprintf("%s\nprovider crm {\noauth2 {\ntoken_url %s\nclient_id app\nclient_secret {env.HOME}\nrefresh_ahead %v\n}\n}",
		store, endpoint.url, refreshAhead)
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{Options: options, Site: "upstream_auth crm " + up.address})
	if err != nil {
		return err
	}
	defer c.Kill()
	for time.Until(expiresAt) > refreshAhead-2*time.Second {
		if _, err := get(c.Address, tenants, 8); err != nil {
			return err
		}
	}
	at := endpoint.requests()
	perSecond := make(map[int]int)
	most := 0
	for _, t := range at {
		second := int(t.Sub(at[0]) / time.Second)
		perSecond[second]++
		most = max(most, perSecond[second])
	}
	if len(at) == 0 {
		return fmt.Errorf("nothing was refreshed")
	}
	last := at[len(at)-1].Sub(at[0])
	fmt.Fprintf(b.Out, "\n## Background refreshes\n\n%d tenants whose tokens expire together, asked for all the time; refresh_ahead %v.\n\n", aheadTenants, refreshAhead)
	fmt.Fprintf(b.Out, "- %d token requests over %v, at most **%d** in a second; all in one would be %d.\n", len(at), last.Round(100*time.Millisecond), most, aheadTenants)
	return nil
}
