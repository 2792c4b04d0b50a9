package neighbour

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// proxy is one of the two that are measured. Each tenant has a site and an upstream of its
// own, so that what they share is the proxy.
type proxy struct {
	name         string
	quiet, noisy string // addresses
	process      *process.Process
}

// start starts the sidecar, with all limits at their defaults, and a bare proxy of the same
// binary.
func start(ctx context.Context, b *setup.Bench) ([]*proxy, error) {
	quiet, err := setup.StartUpstream(ctx, b, setup.ForOthers.Pin)
	if err != nil {
		return nil, err
	}
	noisy, err := setup.StartUpstream(ctx, b, setup.ForOthers.PinLast)
	if err != nil {
		return nil, err
	}
	bare, err := startCaddy(ctx, b, "reverse_proxy", "", "reverse_proxy "+quiet+pool, func(string) string { return "reverse_proxy " + noisy + pool })
	if err != nil {
		return nil, err
	}
	vault, err := setup.StartVault(ctx, b, setup.ForOthers.PinLast)
	if err != nil {
		return nil, err
	}
	for _, tenant := range []string{"quiet", "noisy"} {
		document := fmt.Sprintf(`{"access_token":"access-token-of-%[1]s","refresh_token":"refresh-token-of-%[1]s"}`, tenant)
		if err := vault.Put(ctx, "upstream-auth/crm/"+tenant, document); err != nil {
			return nil, err
		}
	}
	dir, err := b.Mkdir("neighbour")
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"token": vault.Token, "secret": secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	options := fmt.Sprintf(`upstream_auth {
		store vault {
			address %s
			auth token_file %s/token
		}
		journal %[2]s/journal
		provider crm {
			oauth2 {
				token_url http://%s/token
				authorization_url http://%[3]s/authorize
				client_id app
				client_auth none
			}
		}
	}`, vault.Address, dir, noisy)
	sidecar, err := startCaddy(ctx, b, "upstream_auth", options, "upstream_auth crm "+quiet+pool, func(address string) string {
		return fmt.Sprintf(`route {
			upstream_auth_api crm {
				token hs256 {
					secret_file %s/secret
				}
				issuer bench
			}
			upstream_auth_connect crm {
				redirect_uris http://%s/oauth/callback
			}
			upstream_auth crm %s
		}`, dir, address, noisy+pool)
	})
	return []*proxy{sidecar, bare}, err
}

// pool keeps as many idle connections to the upstream as there may be requests.
const pool = " {\ntransport http {\nkeepalive_idle_conns_per_host 512\n}\n}"

func startCaddy(ctx context.Context, b *setup.Bench, name, options, quietSite string, noisySite func(address string) string) (*proxy, error) {
	p := &proxy{name: name}
	var admin string
	for _, address := range []*string{&p.quiet, &p.noisy, &admin} {
		var err error
		if *address, err = process.FreeAddress(); err != nil {
			return nil, err
		}
	}
	dir, err := b.Mkdir("proxy")
	if err != nil {
		return nil, err
	}
	caddyfile := fmt.Sprintf("{\nadmin %s\npersist_config off\nauto_https off\nlog {\nlevel ERROR\n}\n%s\n}\n", admin, options)
	for address, site := range map[string]string{p.quiet: quietSite, p.noisy: noisySite(p.noisy)} {
		_, port, _ := strings.Cut(address, ":")
		caddyfile += fmt.Sprintf("http://:%s {\nbind 127.0.0.1\n%s\n}\n", port, site)
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	path, err := b.Path(setup.Caddy)
	if err != nil {
		return nil, err
	}
	p.process, err = b.Start(setup.ForProxy.Pin(process.Command{
		Path: path, Dir: dir, Args: []string{"run", "--config", file, "--adapter", "caddyfile"},
		Env: []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
	}))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.Notice, "    %s: administration at %s\n", name, admin)
	return p, setup.Await(ctx, p.process, p.noisy)
}

// secret is what the tokens of the credentials API are signed with.
const secret = "a secret that is longer than 32 bytes, for the bench alone"

// token is one of noisy's.
func token() string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":"bench","id":"noisy","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
