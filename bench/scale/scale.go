// Package scale measures what a great number of tenants takes.
package scale

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

// Section measures many tenants.
var Section = setup.Section{
	Name:  "scale",
	About: "a million tenants in the store, many in the cache; memory that comes back; large documents; reads of Vault; background refreshes",
	Run:   run,
}

var (
	stored = flag.Int("stored", 1_000_000, "scale: tenants in the local store")
	only   = flag.String("part", "", "scale: only one of local, touched, large, vault and ahead")
	cached = flag.Int("cached", 100_000, "scale: tenants that are asked for")
)

func run(ctx context.Context, b *setup.Bench) error {
	for _, part := range []struct {
		name    string
		measure func(context.Context, *setup.Bench) error
	}{{"local", local}, {"touched", touched}, {"large", large}, {"vault", vault}, {"ahead", ahead}} {
		if *only != "" && *only != part.name {
			continue
		}
		if err := part.measure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// document is a credential of about as many bytes as credentials are.
func document(tenant string) string {
	return fmt.Sprintf(`{"access_token":"access-%s-%s","refresh_token":"refresh-%s-%s","expires_at":"2100-01-01T00:00:00Z","scope":"read write"}`,
		tenant, strings.Repeat("a", 160), tenant, strings.Repeat("r", 160))
}

func names(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("tenant-%07d", i)
	}
	return names
}

const provider = `provider crm {
	oauth2 {
		token_url %s
		client_id app
		client_secret {env.HOME}
	}
}`
