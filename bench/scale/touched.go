package scale

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

const (
	touchedTTL       = time.Minute // how long a local store's credentials are used without a look at it
	touchedRefreshed = 50          // of so many tenants one has an expired token
	touchedBytes     = 1 << 10     // of each document
)

// touched measures whether the memory comes back that tenants take who are asked for once.
func touched(ctx context.Context, b *setup.Bench) error {
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
	dir, err := b.Mkdir("touched")
	if err != nil {
		return err
	}
	tenants := names(*cached)
	expired := make(map[string]bool)
	for i := 0; i < len(tenants); i += touchedRefreshed {
		expired[tenants[i]] = true
	}
	store, err := setup.LocalStore(ctx, dir, append(tenants, "first"), func(tenant string) string {
		return touchedDocument(tenant, expired[tenant])
	})
	if err != nil {
		return err
	}
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{
		Options: store + "\n" + fmt.Sprintf(provider, endpoint.url), Site: "upstream_auth crm " + up.address,
	})
	if err != nil {
		return err
	}
	defer c.Kill()
	if err := warm(c); err != nil {
		return err
	}
	before, err := footprintOf(ctx, c)
	if err != nil {
		return err
	}
	peak, err := highest(c, func() error {
		_, err := get(c.Address, tenants, 16)
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-time.After(2 * touchedTTL):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := footprintOf(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.Out, "\n## %d tenants asked for once\n\nA local store with documents of 1 KiB, cached for %v; %d tenants have an expired token, and %d were refreshed. The pages of the store's file are the system's, which takes them back when it needs them. The live heap is what is left after a collection.\n\n",
		len(tenants), touchedTTL, len(expired), len(endpoint.requests()))
	fmt.Fprintf(b.Out, "| | memory of its own | with the store's pages | live heap |\n|---|---:|---:|---:|\n")
	for _, row := range []struct {
		name string
		footprint
	}{{"before", before}, {"at the peak", footprint{Memory: peak}}, {fmt.Sprintf("%v after the last request", 2*touchedTTL), after}} {
		heap := ""
		if row.heap > 0 {
			heap = setup.MiB(row.heap)
		}
		fmt.Fprintf(b.Out, "| %s | **%s** | %s | %s |\n", row.name, setup.MiB(row.Anonymous), setup.MiB(row.Resident), heap)
	}
	return nil
}

// touchedDocument is a credential of touchedBytes bytes.
func touchedDocument(tenant string, expired bool) string {
	expiresAt := "2100-01-01T00:00:00Z"
	if expired {
		expiresAt = "2001-01-01T00:00:00Z"
	}
	format := `{"access_token":"access-%s","refresh_token":"refresh-%s","expires_at":%q,"note":"%s"}`
	short := fmt.Sprintf(format, tenant, tenant, expiresAt, "")
	return fmt.Sprintf(format, tenant, tenant, expiresAt, strings.Repeat("n", touchedBytes-len(short)))
}

// footprint is what a process takes.
type footprint struct {
	process.Memory
	heap int64 // live, in bytes
}

// footprintOf measures the memory, and then the live heap, for which it has c collect.
func footprintOf(ctx context.Context, c *process.Caddy) (f footprint, err error) {
	if f.Memory, err = c.Memory(); err != nil {
		return f, err
	}
	f.heap, err = liveHeap(ctx, c)
	return f, err
}

// highest returns the most memory that c takes while f runs.
func highest(c *process.Caddy, f func() error) (process.Memory, error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	var most process.Memory
	for ticker := time.Tick(50 * time.Millisecond); ; {
		select {
		case err := <-done:
			return most, err
		case <-ticker:
		}
		m, err := c.Memory()
		if err != nil {
			return most, err
		}
		most.Resident, most.Anonymous = max(most.Resident, m.Resident), max(most.Anonymous, m.Anonymous)
	}
}
