package vaultstore

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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
	// Address is Vault's URL, such as https://vault.internal:8200. It is https
	// unless the host is "localhost" or a loopback address. Required.
	Address string `json:"address,omitempty"`

	// Namespace is the namespace of all requests, logins included (Vault
	// Enterprise and OpenBao). Default: the root namespace.
	Namespace string `json:"namespace,omitempty"`

	// Mount is where the KV secrets engine is mounted. Default: "secret".
	Mount string `json:"mount,omitempty"`

	// KVVersion is the version of that engine, 1 or 2. Version 1 has no
	// check-and-set: such a store takes no writes. Default: 2.
	KVVersion int `json:"kv_version,omitempty"`

	// PathTemplate is the path of a credential below the mount. It has the
	// segments {provider} and {tenant}, each once. Default:
	// "upstream-auth/{provider}/{tenant}".
	PathTemplate string `json:"path,omitempty"`

	// Auth is how to log in. Required.
	Auth AuthConfig `json:"auth,omitzero"`

	// TLS is how to reach an https address. Default: the system's certificate
	// authorities, no client certificate.
	TLS TLSConfig `json:"tls,omitzero"`

	// Timeout bounds one read, with all that it waits for: a login, and the
	// repetition after one. Default: 2 seconds. In JSON it is in nanoseconds.
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

// Validate reports what is wrong with c, defaults applied. It reads the TLS
// files; those of a login need not be there yet, and nothing is dialled.
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
	if err := full.Auth.validate(); err != nil {
		return err
	}
	_, err := full.TLS.load()
	return err
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
