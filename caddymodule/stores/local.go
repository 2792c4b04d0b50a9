package stores

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/localstore"
)

func init() {
	caddy.RegisterModule(new(Local))
}

// Local keeps credentials in one file on this machine, each sealed with a key from
// another file. One process at a time can have the file open.
//
// All values may hold run-time placeholders such as `{env.NAME}`.
type Local struct {
	localstore.Config
}

// CaddyModule returns the Caddy module information.
func (*Local) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".local", New: func() caddy.Module { return new(Local) }}
}

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store local <file> {
//	    key_file <file>
//	}
func (s *Local) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	s.Path = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "key_file" {
			return d.Errf("unrecognized subdirective '%s' of store local", name)
		}
		if err := config.OneArg(d, &s.KeyFile); err != nil {
			return err
		}
	}
	_, err := s.resolved(config.AdaptingResolver())
	return config.WrapErr(d, "store local", err)
}

// Provision checks the settings and fills in their placeholders.
func (s *Local) Provision(caddy.Context) (err error) {
	s.Config, err = s.resolved(config.NewResolver())
	return err
}

// resolved returns the settings with their placeholders filled in and absolute paths,
// checked.
func (s *Local) resolved(resolve *config.Resolver) (c localstore.Config, err error) {
	c.Path, c.KeyFile = resolve.Text("path", s.Path), resolve.Text("key_file", s.KeyFile)
	if resolve.Err() != nil {
		return c, resolve.Err()
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	for _, file := range []*string{&c.Path, &c.KeyFile} {
		if *file, err = filepath.Abs(*file); err != nil {
			return c, fmt.Errorf("resolving a path: %w", err)
		}
	}
	return c, nil
}

// SecretFiles returns the files that hold secrets by the settings that name them.
func (s *Local) SecretFiles() map[string]string {
	return map[string]string{"key_file": s.KeyFile, "path": s.Path}
}

// ReadOnly implements [Store].
func (*Local) ReadOnly() bool { return false }

// Key implements [Store]: the file can be opened once.
func (s *Local) Key() string { return "local " + s.Path }

// Settings implements [Store].
func (s *Local) Settings() string { return s.KeyFile }

// Exclusive implements [Store].
func (*Local) Exclusive() bool { return true }

// New implements [Store].
func (s *Local) New(*slog.Logger) (Opener, credential.CacheOptions, error) {
	store, err := localstore.New(s.Config)
	return store, credential.CacheOptions{}, err
}

var (
	_ Store                 = (*Local)(nil)
	_ caddy.Provisioner     = (*Local)(nil)
	_ caddyfile.Unmarshaler = (*Local)(nil)
)
