package setup

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/localstore"
)

// Sidecar is the Caddyfile of a Caddy that is measured.
type Sidecar struct {
	Options string // of upstream_auth; empty: a Caddy without it
	Site    string // its directives
}

// StartCaddy starts the product, with its files in dir.
func StartCaddy(ctx context.Context, b *Bench, dir string, s Sidecar) (*process.Caddy, error) {
	path, err := b.Path(Caddy)
	if err != nil {
		return nil, err
	}
	c, err := process.NewCaddy(path, dir)
	if err != nil {
		return nil, err
	}
	options := ""
	if s.Options != "" {
		options = "upstream_auth {\n" + s.Options + "\n}"
	}
	caddyfile := fmt.Sprintf("{\nadmin %s\npersist_config off\nauto_https off\nlog {\nlevel ERROR\n}\n%s\n}\nhttp:// {\nbind fd/3\n%s\n}\n", c.Admin, options, s.Site)
	if err := c.Start(ctx, caddyfile); err != nil {
		return nil, err
	}
	b.Defer(c.Kill)
	return c, nil
}

// LocalStore makes a local store in dir with a credential for each tenant of the provider
// crm, and returns the option that names it.
func LocalStore(ctx context.Context, dir string, tenants []string, document func(tenant string) string) (string, error) {
	config := localstore.Config{Path: filepath.Join(dir, "credentials.db"), KeyFile: filepath.Join(dir, "key")}
	store, err := localstore.New(config)
	if err != nil {
		return "", err
	}
	if err := Fill(ctx, credential.Store(store), "crm", tenants, document); err != nil {
		return "", err
	}
	if err := store.Close(); err != nil {
		return "", err
	}
	return fmt.Sprintf("store local %s {\nkey_file %s\n}", config.Path, config.KeyFile), nil
}

// MiB is bytes as text.
func MiB(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
