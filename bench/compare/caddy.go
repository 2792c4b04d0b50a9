package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

const (
	accessToken = "access-token-of-acme-0123456789abcdefghijklmn"
	document    = `{"access_token":"` + accessToken + `","refresh_token":"refresh-token-of-acme-0123456789abcdefghij","expires_at":"2100-01-01T00:00:00Z"}`
	tenantCount = 10_000
)

// tenantName is the i-th of many tenants.
func tenantName(i int) string { return fmt.Sprintf("tenant-%05d", i) }

// caddyfile has one site: %[2]s are global options, %[3]s is what the site does.
const caddyfile = `{
	admin %[4]s
	persist_config off
	auto_https off
	log {
		level ERROR
	}
	servers {
		protocols h1 h2c
	}
	%[2]s
}
http://%[1]s {
	bind 127.0.0.1
	%[3]s
}
`

// proxyBlock ends every Caddy's proxy directive, with %[1]s before the transport.
const proxyBlock = ` {
		%[1]s
		transport http {
			keepalive_idle_conns_per_host %[2]d
		}
	}`

func (c *contender) startCaddy(ctx context.Context, b *setup.Bench, dir, upstream string) error {
	var err error
	if c.admin, err = process.FreeAddress(); err != nil {
		return err
	}
	program := setup.Caddy
	environment := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	global, site := "", "reverse_proxy "+upstream
	extra := ""
	switch c.name {
	case stock:
		program = setup.Stock
		extra = "header_up Authorization \"Bearer " + accessToken + "\""
	case unguided:
		program = &process.Program{Module: "..", Package: "cmd/caddy", Flags: []string{"-trimpath", "-pgo=off"}}
	case untuned:
		environment = append(environment, "GOGC=100")
	case bare:
	default:
		if global, err = c.options(ctx, b, dir); err != nil {
			return err
		}
		site = "upstream_auth crm " + upstream
	}
	site += fmt.Sprintf(proxyBlock, extra, idleConnections)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, fmt.Appendf(nil, caddyfile, c.h1, global, site, c.admin), 0o600); err != nil {
		return err
	}
	path, err := program.Path(dir)
	if err != nil {
		return err
	}
	c.process, err = b.Start(setup.ForProxy.Pin(process.Command{
		Path: path, Dir: dir, Args: []string{"run", "--config", file, "--adapter", "caddyfile"},
		Env: environment,
	}))
	return err
}

// options are the global options of upstream_auth, with the tenants in its store.
func (c *contender) options(ctx context.Context, b *setup.Bench, dir string) (string, error) {
	provider := `provider crm {
			allowed_hosts 127.0.0.1
			oauth2 {
				token_url https://login.example.com/token
				client_id app
				client_secret {env.HOME}
			}
		}`
	if c.name == header {
		provider = `provider crm {
			allowed_hosts 127.0.0.1
			header Authorization "Bearer {credential.access_token}"
		}`
	}
	store, err := c.store(ctx, b, dir)
	return "upstream_auth {\n" + store + "\n" + provider + "\n}", err
}

func (c *contender) store(ctx context.Context, b *setup.Bench, dir string) (string, error) {
	if c.name == vault {
		v, err := setup.StartVault(ctx, b, setup.ForOthers.Pin)
		if err != nil {
			return "", err
		}
		token := filepath.Join(dir, "token")
		if err := os.WriteFile(token, []byte(v.Token), 0o600); err != nil {
			return "", err
		}
		if err := v.Put(ctx, "upstream-auth/crm/acme", document); err != nil {
			return "", err
		}
		return fmt.Sprintf("store vault {\n address %s\n auth token_file %s\n }\n journal %s", v.Address, token, filepath.Join(dir, "journal")), nil
	}
	names := []string{"acme"}
	if c.many {
		names = nil
		for i := range tenantCount {
			names = append(names, tenantName(i))
		}
	}
	return setup.LocalStore(ctx, dir, names, func(string) string { return document })
}
