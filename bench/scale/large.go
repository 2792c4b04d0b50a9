package scale

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

const (
	largeTenants = 400
	largeBytes   = 1_000_000 // of each document
	largeAtATime = 16
)

// large measures what large documents take of the memory.
func large(ctx context.Context, b *setup.Bench) error {
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.close()
	v, err := setup.StartVault(ctx, b, setup.ForOthers.Pin)
	if err != nil {
		return err
	}
	tenants := names(largeTenants)
	for _, tenant := range append(tenants, "first") {
		document := fmt.Sprintf(`{"access_token":"access-%s","refresh_token":"refresh-%[1]s","padding":"%s"}`, tenant, strings.Repeat("p", largeBytes))
		if err := v.Put(ctx, "upstream-auth/crm/"+tenant, document); err != nil {
			return err
		}
	}
	dir, err := b.Mkdir("large")
	if err != nil {
		return err
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(v.Token), 0o600); err != nil {
		return err
	}
	store := fmt.Sprintf("store vault {\naddress %s\nauth token_file %s\ntimeout 20s\n}\njournal %s", v.Address, token, filepath.Join(dir, "journal"))
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{
		Options: store + "\n" + fmt.Sprintf(provider, "https://login.example.com/token"), Site: "upstream_auth crm " + up.address,
	})
	if err != nil {
		return err
	}
	defer c.Kill()
	before, err := c.Memory()
	if err != nil {
		return err
	}
	peak, err := highest(c, func() error {
		_, err := get(c.Address, tenants, largeAtATime)
		return err
	})
	if err != nil {
		return err
	}
	after, err := footprintOf(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.Out, "\n## Large documents\n\n%d tenants with documents of %d bytes in Vault, each asked for once, %d at a time. Resident: %s before the first, **%s** at most, %s after the last; of that %s are a live heap.\n",
		largeTenants, largeBytes, largeAtATime, setup.MiB(before.Resident), setup.MiB(peak.Resident), setup.MiB(after.Resident), setup.MiB(after.heap))
	return nil
}
