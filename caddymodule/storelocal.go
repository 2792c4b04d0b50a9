package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/localstore"
)

func init() {
	caddy.RegisterModule(new(LocalStore))
}

// LocalStore keeps credentials in one file on this machine, each sealed with a
// key from another file. One process at a time can have the file open.
//
// All values may hold run-time placeholders such as `{env.NAME}`.
type LocalStore struct {
	// The file with the credentials, made with mode 0600 when it is absent.
	Path string `json:"path"`

	// The file with the key, made with mode 0600 when it is absent. Whoever has
	// both files has the credentials: keep this one elsewhere.
	KeyFile string `json:"key_file"`

	conf localstore.Config
}

// CaddyModule returns the Caddy module information.
func (*LocalStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "upstream_auth.stores.local",
		New: func() caddy.Module { return new(LocalStore) },
	}
}

// Provision checks the configuration. It opens and creates nothing.
func (s *LocalStore) Provision(caddy.Context) error {
	resolve := config.NewResolver()
	s.conf = localstore.Config{
		Path:    resolve.Text("path", s.Path),
		KeyFile: resolve.Text("key_file", s.KeyFile),
	}
	if resolve.Err() != nil {
		return resolve.Err()
	}
	if s.conf.Path == "" {
		return errors.New("path is missing")
	}
	if s.conf.KeyFile == "" {
		return errors.New("key_file is missing")
	}
	for _, file := range []*string{&s.conf.Path, &s.conf.KeyFile} {
		absolute, err := filepath.Abs(*file)
		if err != nil {
			return fmt.Errorf("resolving a path: %w", err)
		}
		*file = absolute
	}
	return nil
}

func (s *LocalStore) readOnly() bool { return false }

func (s *LocalStore) poolKey() string {
	return "local " + s.conf.Path // the file can be opened once
}

func (s *LocalStore) settings() string { return s.conf.KeyFile }

func (s *LocalStore) exclusive() bool { return true }

func (s *LocalStore) newStore(*slog.Logger) (openStore, credential.CacheOptions, error) {
	store, err := localstore.New(s.conf)
	if err != nil {
		return nil, credential.CacheOptions{}, err
	}
	return quietStore{store}, credential.CacheOptions{}, nil
}

// quietStore is a store that has nothing to log.
type quietStore struct{ *localstore.Store }

func (quietStore) SetLogger(*slog.Logger) {}

var (
	_ caddy.Provisioner = (*LocalStore)(nil)
	_ storeModule       = (*LocalStore)(nil)
)
