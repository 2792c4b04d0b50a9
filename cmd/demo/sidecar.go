package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // as in a Caddy that users have

	_ "github.com/upstreamauth/caddy-upstream-auth/caddymodule"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/localstore"
)

const provider = "billing"

// caddyfile is the sidecar's configuration. Its arguments are the directory, the
// sidecar's own port, and the addresses of the authorization server and the API. The
// options before upstream_auth keep Caddy from leaving anything outside the
// directory, and from saying anything but errors.
const caddyfile = `{
	admin off
	auto_https off
	persist_config off
	storage file_system "%[1]s/caddy"
	storage_clean_interval off
	grace_period 1s
	log {
		output stderr
		format console
		level ERROR
	}
	upstream_auth {
		store local "%[1]s/credentials.db" {
			key_file "%[1]s/credentials.key"
		}
		journal "%[1]s/journal"
		provider ` + provider + ` {
			allowed_hosts 127.0.0.1
			oauth2 {
				token_url http://%[3]s/token
				client_id demo
				client_secret_file "%[1]s/client_secret"
			}
		}
	}
}

:%[2]s {
	bind 127.0.0.1
	upstream_auth ` + provider + ` %[4]s
}
`

// sidecar is Caddy with upstream_auth, in this process.
type sidecar struct {
	url    string
	file   string // its Caddyfile
	config []byte // and what that says, in JSON
	store  localstore.Config
}

// newSidecar writes the sidecar's files into dir. It does not start it.
func newSidecar(ctx context.Context, dir, authAddress, clientSecret, apiAddress string) (*sidecar, error) {
	listener, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String() // Caddy opens its own listener there
	if err := listener.Close(); err != nil {
		return nil, err
	}
	dir = filepath.ToSlash(dir)
	s := &sidecar{
		url:   "http://" + address,
		file:  dir + "/Caddyfile",
		store: localstore.Config{Path: dir + "/credentials.db", KeyFile: dir + "/credentials.key"},
	}
	if err := os.WriteFile(dir+"/client_secret", []byte(clientSecret+"\n"), 0o600); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, caddyfile, dir, port, authAddress, apiAddress)
	if err := os.WriteFile(s.file, text, 0o600); err != nil {
		return nil, err
	}
	s.config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": s.file})
	if err != nil {
		return nil, fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	return s, nil
}

func (s *sidecar) start() error {
	if err := caddy.Load(s.config, true); err != nil {
		return fmt.Errorf("starting the sidecar: %w", err)
	}
	return nil
}

// stop returns when the sidecar has let go of its store, which is after the last
// refresh: one process at a time can have the file open.
func (s *sidecar) stop() error {
	if err := caddy.Stop(); err != nil {
		return fmt.Errorf("stopping the sidecar: %w", err)
	}
	return s.withStore(func(*localstore.Store) error { return nil })
}

// put writes a tenant's credential while the sidecar is stopped.
func (s *sidecar) put(ctx context.Context, tenant string, t tokens) error {
	document, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.withStore(func(store *localstore.Store) error {
		_, err := store.Put(ctx, key(tenant), document, 0)
		return err
	})
}

// get reads a tenant's credential while the sidecar is stopped.
func (s *sidecar) get(ctx context.Context, tenant string) (t tokens, err error) {
	err = s.withStore(func(store *localstore.Store) error {
		document, err := store.Get(ctx, key(tenant))
		if err != nil {
			return err
		}
		return json.Unmarshal(document.Data, &t)
	})
	return t, err
}

func (s *sidecar) withStore(f func(*localstore.Store) error) error {
	store, err := localstore.New(s.store)
	if err != nil {
		return err
	}
	if err := store.Open(); err != nil {
		return err
	}
	return errors.Join(f(store), store.Close())
}

// tokens is a tenant's credential, as far as it matters here.
type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

func key(tenant string) credential.Key {
	return credential.Key{Provider: provider, Tenant: credential.Tenant(tenant)}
}
