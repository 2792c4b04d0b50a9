package setup

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Fill writes a credential for each of the tenants, many at a time, since a store
// commits together what comes together.
func Fill(ctx context.Context, store credential.Store, provider string, tenants []string, document func(tenant string) string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(512)
	for _, tenant := range tenants {
		g.Go(func() error {
			key := credential.Key{Provider: provider, Tenant: credential.Tenant(tenant)}
			_, err := store.Put(ctx, key, []byte(document(tenant)), 0)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("filling the store: %w", err)
	}
	return nil
}
