package caddymodule

import (
	"cmp"
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
	caddy.RegisterModule(new(VaultStore))
}

// VaultStore keeps credentials in a key-value secrets engine of HashiCorp Vault.
// Vault need not be up when Caddy starts, and may go away and come back.
//
// All values may hold run-time placeholders such as `{env.NAME}`.
type VaultStore struct {
	// Vault's address. Default: the environment variable VAULT_ADDR. The scheme
	// is https, unless the host is a loopback address.
	Address string `json:"address,omitempty"`

	// Vault's namespace (Vault Enterprise, HCP Vault).
	Namespace string `json:"namespace,omitempty"`

	// Where the secrets engine is mounted. Default: `secret`.
	Mount string `json:"mount,omitempty"`

	// The version of the secrets engine. Default: 2. Version 1 has no
	// check-and-set, and so serves only providers that are never refreshed.
	KVVersion int `json:"kv_version,omitempty"`

	// The path of a credential below the mount. Default:
	// `upstream-auth/{provider}/{tenant}`.
	Path string `json:"path,omitempty"`

	// How to log in to Vault.
	Auth *VaultAuth `json:"auth,omitempty"`

	// A PEM file with the certificate authorities that vouch for Vault.
	// Default: the system's.
	TLSCA string `json:"tls_ca,omitempty"`

	// PEM files with a client certificate and its key.
	TLSClientCert string `json:"tls_client_cert,omitempty"`
	TLSClientKey  string `json:"tls_client_key,omitempty"`

	// The name that Vault's certificate must have. Default: the host in address.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// How long one read may take in which a request waits. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a credential is used before Vault is asked again. Default: 1m.
	// What this process writes itself it uses at once.
	CacheTTL caddy.Duration `json:"cache_ttl,omitempty"`

	// How much longer a credential may be used while Vault does not answer.
	// Default: 0, not at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	conf vaultstore.Config
}

// VaultAuth is one way to log in to Vault.
type VaultAuth struct {
	// `token_file`, `approle`, `kubernetes` or `jwt`.
	Method string `json:"method"`

	// For token_file: a file with a token, read again whenever it changes, as
	// Vault Agent writes it. It need not exist yet when Caddy starts.
	TokenFile string `json:"token_file,omitempty"`

	// For approle: the role ID, or a file that holds it.
	RoleID     string `json:"role_id,omitempty"`
	RoleIDFile string `json:"role_id_file,omitempty"`

	// For approle: a file that holds the secret ID.
	SecretIDFile string `json:"secret_id_file,omitempty"`

	// For kubernetes and jwt: the role to log in as.
	Role string `json:"role,omitempty"`

	// For kubernetes and jwt: a file that holds the token to present, read at
	// each login. Default for kubernetes: the pod's service account token.
	File string `json:"file,omitempty"`

	// Where the auth method is mounted. Default: the method's name.
	Mount string `json:"mount,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*VaultStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "upstream_auth.stores.vault",
		New: func() caddy.Module { return new(VaultStore) },
	}
}

// Provision checks the configuration. It does not talk to Vault.
func (s *VaultStore) Provision(caddy.Context) error {
	resolve := config.NewResolver()
	auth := cmp.Or(s.Auth, new(VaultAuth))
	s.conf = vaultstore.Config{
		Address:      resolve.Text("address", s.Address),
		Namespace:    resolve.Text("namespace", s.Namespace),
		Mount:        resolve.Text("mount", s.Mount),
		KVVersion:    s.KVVersion,
		PathTemplate: s.Path,
		Auth: vaultstore.AuthConfig{
			Method:       auth.Method,
			TokenFile:    resolve.Text("auth token_file", auth.TokenFile),
			RoleID:       resolve.Text("auth role_id", auth.RoleID),
			RoleIDFile:   resolve.Text("auth role_id_file", auth.RoleIDFile),
			SecretIDFile: resolve.Text("auth secret_id_file", auth.SecretIDFile),
			Role:         resolve.Text("auth role", auth.Role),
			JWTFile:      resolve.Text("auth file", auth.File),
			Mount:        resolve.Text("auth mount", auth.Mount),
		},
		TLS: vaultstore.TLSConfig{
			CA:         resolve.Text("tls_ca", s.TLSCA),
			ClientCert: resolve.Text("tls_client_cert", s.TLSClientCert),
			ClientKey:  resolve.Text("tls_client_key", s.TLSClientKey),
			ServerName: resolve.Text("tls_server_name", s.TLSServerName),
		},
		Timeout: time.Duration(s.Timeout),
	}
	if resolve.Err() != nil {
		return resolve.Err()
	}
	if s.conf.Address == "" {
		s.conf.Address = os.Getenv("VAULT_ADDR")
	}
	if s.CacheTTL < 0 || s.StaleIfError < 0 || s.Timeout < 0 {
		return errors.New("timeout, cache_ttl and stale_if_error cannot be negative")
	}
	// The token_file may appear later, and so may the pod's own token.
	for name, file := range map[string]string{
		"role_id_file": s.conf.Auth.RoleIDFile, "secret_id_file": s.conf.Auth.SecretIDFile, "file": s.conf.Auth.JWTFile,
	} {
		if file == "" {
			continue
		}
		if err := config.CheckReadable(file); err != nil {
			return fmt.Errorf("auth %s: %s: %w", auth.Method, name, err)
		}
	}
	return s.conf.Validate()
}

func (s *VaultStore) readOnly() bool { return s.KVVersion == 1 }

func (s *VaultStore) poolKey() string {
	// The configuration as it came out of the placeholders: the same text with
	// another environment is another Vault.
	key, err := json.Marshal(struct {
		Config                 vaultstore.Config
		CacheTTL, StaleIfError caddy.Duration
	}{s.conf, s.CacheTTL, s.StaleIfError})
	if err != nil {
		return fmt.Sprintf("vault %+v", s.conf)
	}
	return "vault " + string(key)
}

func (s *VaultStore) settings() string { return "" } // all are in poolKey

func (s *VaultStore) exclusive() bool { return false }

func (s *VaultStore) newStore(logger *slog.Logger) (openStore, credential.CacheOptions, error) {
	store, err := vaultstore.New(s.conf, logger)
	if err != nil {
		return nil, credential.CacheOptions{}, err
	}
	return patientStore{store}, credential.CacheOptions{
		TTL:          time.Duration(s.CacheTTL),
		StaleIfError: time.Duration(s.StaleIfError),
		Timeout:      time.Duration(s.Timeout),
	}, nil
}

// patientStore is a store that cannot fail to open: it logs in for as long as
// it takes.
type patientStore struct{ *vaultstore.Store }

func (s patientStore) Open() error {
	s.Store.Open()
	return nil
}

var (
	_ caddy.Provisioner = (*VaultStore)(nil)
	_ storeModule       = (*VaultStore)(nil)
)
