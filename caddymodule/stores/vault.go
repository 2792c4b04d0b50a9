package stores

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore"
)

func init() {
	caddy.RegisterModule(new(Vault))
}

// Vault keeps credentials in a key-value secrets engine of HashiCorp Vault. Vault need
// not be up when Caddy starts, and may go away and come back.
//
// All values may hold run-time placeholders such as `{env.NAME}`. The default of
// `address` is the environment variable VAULT_ADDR.
type Vault struct {
	vaultstore.Config

	// How long one read may take in which a request waits. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a credential is used before Vault is asked again. Default: 1m.
	// What this process writes itself it uses at once.
	CacheTTL caddy.Duration `json:"cache_ttl,omitempty"`

	// How much longer a credential may be used while Vault does not answer.
	// Default: 0, not at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Vault) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".vault", New: func() caddy.Module { return new(Vault) }}
}

// Provision checks the settings and fills in their placeholders. It does not talk to
// Vault.
func (s *Vault) Provision(caddy.Context) error {
	settings, err := s.resolved(config.NewResolver())
	if err != nil {
		return err
	}
	s.Config = settings
	// The token_file may appear later, and so may the pod's own token.
	for name, file := range map[string]string{
		"role_id_file": s.Auth.RoleIDFile, "secret_id_file": s.Auth.SecretIDFile, "file": s.Auth.JWTFile,
	} {
		if file == "" {
			continue
		}
		if err := config.CheckReadable(file); err != nil {
			return fmt.Errorf("auth %s: %s: %w", s.Auth.Method, name, err)
		}
	}
	return nil
}

// resolved returns the settings with their placeholders filled in, checked.
func (s *Vault) resolved(resolve *config.Resolver) (vaultstore.Config, error) {
	c := s.Config
	switch {
	case c.Address != "":
	case resolve.Adapting():
		c.Address = config.UnknownURL // that of another environment
	default:
		c.Address = os.Getenv("VAULT_ADDR")
	}
	c.Address = resolve.URL("address", c.Address)
	for _, setting := range []struct {
		name string
		text *string
	}{
		{"namespace", &c.Namespace}, {"mount", &c.Mount},
		{"auth token_file", &c.Auth.TokenFile}, {"auth role_id", &c.Auth.RoleID}, {"auth role_id_file", &c.Auth.RoleIDFile},
		{"auth secret_id_file", &c.Auth.SecretIDFile}, {"auth role", &c.Auth.Role}, {"auth file", &c.Auth.JWTFile},
		{"auth mount", &c.Auth.Mount}, {"tls_ca", &c.TLSCA}, {"tls_client_cert", &c.TLSClientCert},
		{"tls_client_key", &c.TLSClientKey}, {"tls_server_name", &c.TLSServerName},
	} {
		*setting.text = resolve.Text(setting.name, *setting.text)
	}
	if resolve.Err() != nil {
		return c, resolve.Err()
	}
	if s.CacheTTL < 0 || s.StaleIfError < 0 || s.Timeout < 0 {
		return c, errors.New("timeout, cache_ttl and stale_if_error cannot be negative")
	}
	c.Timeout = time.Duration(s.Timeout)
	return c, c.Validate()
}

// SecretFiles returns the files that hold secrets by the settings that name them. A pod's own
// token has the mode that Kubernetes gives it.
func (s *Vault) SecretFiles() map[string]string {
	files := map[string]string{
		"token_file": s.Auth.TokenFile, "role_id_file": s.Auth.RoleIDFile, "secret_id_file": s.Auth.SecretIDFile, "tls_client_key": s.TLSClientKey,
	}
	if s.Auth.Method == vaultstore.MethodJWT {
		files["auth jwt's file"] = s.Auth.JWTFile
	}
	return files
}

// ReadOnly implements [Store].
func (s *Vault) ReadOnly() bool { return s.KVVersion == 1 }

// Key implements [Store]. It has all settings, as they came out of the placeholders: the
// same text with another environment is another Vault.
func (s *Vault) Key() string {
	key, err := json.Marshal(s)
	if err != nil {
		return fmt.Sprintf("vault %+v", *s)
	}
	return "vault " + string(key)
}

// Settings implements [Store]: all are in the key.
func (*Vault) Settings() string { return "" }

// SignsWithTransit implements [Signer].
func (*Vault) SignsWithTransit() {}

// Exclusive implements [Store].
func (*Vault) Exclusive() bool { return false }

// New implements [Store].
func (s *Vault) New(logger *slog.Logger) (Opener, credential.CacheOptions, error) {
	store, err := vaultstore.New(s.Config, logger)
	return patient{store}, credential.CacheOptions{
		TTL:          time.Duration(s.CacheTTL),
		StaleIfError: time.Duration(s.StaleIfError),
		Timeout:      time.Duration(s.Timeout),
	}, err
}

// patient is a store that cannot fail to open: it logs in for as long as it takes.
type patient struct{ *vaultstore.Store }

func (s patient) Open() error {
	s.Store.Open()
	return nil
}

var (
	_ Signer            = (*Vault)(nil)
	_ caddy.Provisioner = (*Vault)(nil)
)
