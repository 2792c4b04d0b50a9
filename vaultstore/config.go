package vaultstore

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// Defaults of a [Config].
const (
	DefaultMount        = "secret"
	DefaultPathTemplate = "upstream-auth/{provider}/{tenant}"
	DefaultTimeout      = 2 * time.Second
)

// Config says where the credentials lie in Vault and how to get at them. It is
// all that a [Store] knows: no environment variable, no token helper and no
// file of the vault command is looked at.
type Config struct {
	// Vault's URL, such as `https://vault.internal:8200`. It is https unless the host is
	// `localhost` or a loopback address. Required.
	Address string `json:"address,omitempty"`

	// The namespace of all requests, logins included (Vault Enterprise, HCP Vault,
	// OpenBao). Default: the root namespace.
	Namespace string `json:"namespace,omitempty"`

	// Where the KV secrets engine is mounted. Default: `secret`.
	Mount string `json:"mount,omitempty"`

	// The version of that engine, 1 or 2. Version 1 has no check-and-set, and so serves
	// only providers whose credentials are never refreshed. Default: 2.
	KVVersion int `json:"kv_version,omitempty"`

	// The path of a credential below the mount. It has the segments `{provider}` and
	// `{tenant}`, each once. Default: `upstream-auth/{provider}/{tenant}`.
	PathTemplate string `json:"path,omitempty"`

	// How to log in. Required.
	Auth AuthConfig `json:"auth,omitzero"`

	tlsfiles.Files

	// The name that Vault's certificate must be for, and that is sent as SNI. Default:
	// the host in address.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// How long one read may take in which a request waits, with all that it waits for: a
	// login, and the repetition after one. Default: 2s. In JSON it is a number of nanoseconds here; a Caddy
	// configuration takes `2s`, too.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// WithDefaults returns c with the default in each field that is empty, and
// without the slashes around Mount, Namespace and Auth.Mount that mean nothing:
// two configurations that mean the same are then equal.
func (c Config) WithDefaults() Config {
	c.Address = strings.TrimRight(c.Address, "/")
	c.Namespace = strings.Trim(c.Namespace, "/")
	c.Mount = strings.Trim(c.Mount, "/")
	c.Auth = c.Auth.withDefaults()
	if c.Mount == "" {
		c.Mount = DefaultMount
	}
	if c.KVVersion == 0 {
		c.KVVersion = 2
	}
	if c.PathTemplate == "" {
		c.PathTemplate = DefaultPathTemplate
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return c
}

// Validate reports what is wrong with c, defaults applied. It reads no file and dials
// nothing.
func (c *Config) Validate() error {
	full := c.WithDefaults()
	if err := checkAddress(full.Address); err != nil {
		return err
	}
	if full.KVVersion != 1 && full.KVVersion != 2 {
		return fmt.Errorf("kv_version is %d, not 1 or 2", full.KVVersion)
	}
	if err := checkPath("mount", full.Mount); err != nil {
		return err
	}
	if full.Namespace != "" {
		if err := checkPath("namespace", full.Namespace); err != nil {
			return err
		}
	}
	if err := CheckPathTemplate(full.PathTemplate); err != nil {
		return err
	}
	if full.Timeout < 0 {
		return errors.New("timeout is negative")
	}
	if err := c.Auth.Validate(); err != nil {
		return err
	}
	return tlsfiles.Check(full.Files)
}

// checkAddress reports whether address is a URL that secrets may travel to.
func checkAddress(address string) error {
	if address == "" {
		return errors.New("no address of Vault: give one, or set $VAULT_ADDR")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Hostname() == "", u.Opaque != "":
		return errors.New("address of Vault is not a URL such as https://vault.internal:8200")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return errors.New("address of Vault has more than scheme, host, port and path")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("address of Vault has scheme %q, not https", u.Scheme)
	case !credential.IsLoopback(u.Hostname()):
		return fmt.Errorf("address of Vault is http for %s, which is not a loopback host: use https", u.Host)
	}
	return nil
}
