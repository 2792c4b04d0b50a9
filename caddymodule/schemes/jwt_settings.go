package schemes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore"
)

// JWTSettings say what a JSON Web Token is made of.
type JWTSettings struct {
	// How it is signed (RFC 7518, RFC 8037): `HS256`, `RS256`, `PS256`, `ES256`, those of
	// 384 and 512, or `EdDSA`.
	Algorithm string `json:"algorithm,omitempty"`

	// The key: a template that uses at least one placeholder. It makes PEM (PKCS #1,
	// PKCS #8 or SEC 1), whose line breaks may be `\n` as in JSON, DER, or a JWK; for HMAC the
	// secret itself. Filters make its bytes of what is encoded: `{credential.secret|unhex}`.
	Key string `json:"key,omitempty"`

	// A file with the key, instead. It is read anew for each token.
	KeyFile string `json:"key_file,omitempty"`

	// A key of Vault's Transit secrets engine that signs, instead, and never leaves Vault:
	// its name, or that of the engine's mount, a slash and its name. The store is Vault, and its
	// policy allows to update `<mount>/sign/<name>`. Default of the mount: `transit`.
	VaultTransit string `json:"vault_transit,omitempty"`

	// Parameters of the header besides `alg` and `typ`, by name: templates.
	Header map[string]string `json:"header,omitempty"`

	// Claims by name: templates. A claim that is one field of the credential, as
	// `{credential.id}`, has the field's JSON value, be it a number, an array or an object.
	// Several values are an array. A dot in a name stands before the name of a member
	// (`account.id`), unless a backslash stands before it. `iat`, `nbf`, `exp` and `jti` are set
	// where they are not given.
	Claims map[string][]string `json:"claims,omitempty"`

	// How long the token is good for, at least 10s. Default: 5m.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	transit *transitKey // nil: the key is elsewhere
}

// unmarshalSetting reads a subdirective:
//
//	algorithm <algorithm>
//	key       <template>|file <file>|vault_transit [<mount>/]<name>
//	header    <name> <template>
//	claim     <name> <template>
//	lifetime  <duration>
//
// known is false for others.
func (s *JWTSettings) unmarshalSetting(d *caddyfile.Dispenser) (known bool, err error) {
	switch name := d.Val(); name {
	case "algorithm":
		if err = config.OneArg(d, &s.Algorithm); err == nil {
			err = config.WrapErr(d, "", jwt.CheckAlgorithm(s.Algorithm))
		}
	case "key":
		err = s.unmarshalKey(d)
	case "header":
		err = config.NamedArgs(d, &s.Header)
	case "claim":
		var claim, value string
		if claim, value, err = config.NamedArg(d); err == nil {
			if s.Claims == nil {
				s.Claims = make(map[string][]string)
			}
			s.Claims[claim] = append(s.Claims[claim], value)
		}
	case "lifetime":
		err = config.DurationArg(d, &s.Lifetime)
	default:
		return false, nil
	}
	if err == nil {
		// What is not there yet is asked for when all is read.
		conf := *s
		conf.Algorithm, conf.Key, conf.KeyFile, conf.VaultTransit = "HS256", "{env.KEY}", "", ""
		_, err = conf.minter(config.LookupLater)
		err = config.WrapErr(d, "", err)
	}
	return true, err
}

// unmarshalKey reads: key <template>|file <file>|vault_transit [<mount>/]<name>
func (s *JWTSettings) unmarshalKey(d *caddyfile.Dispenser) error {
	if s.Key != "" || s.KeyFile != "" || s.VaultTransit != "" {
		return d.Err("key is given twice")
	}
	if d.CountRemainingArgs() == 1 {
		if err := config.OneArg(d, &s.Key); err != nil {
			return err
		}
		_, err := config.ParseSecret(s.Key, config.LookupLater)
		return config.WrapErr(d, "key", err)
	}
	switch d.NextArg(); d.Val() {
	case "file":
		return config.FileArg(d, &s.KeyFile)
	case "vault_transit":
		if err := config.OneArg(d, &s.VaultTransit); err != nil {
			return err
		}
		return config.CheckLiteral(d, "", s.VaultTransit, func(text string) error {
			_, err := vaultstore.ParseTransitKey(text)
			return err
		})
	default:
		return d.ArgErr()
	}
}

// UsesTransit implements [TransitUser].
func (s *JWTSettings) UsesTransit() bool { return s.VaultTransit != "" }

// UseTransit implements [TransitUser].
func (s *JWTSettings) UseTransit(store Transit) { s.transit.store = store }

// adapt checks the settings as far as adapting a Caddyfile can tell. The key's line is that
// of key.
func (s *JWTSettings) adapt(d, key *caddyfile.Dispenser) (*jwt.Minter, error) {
	adapted, err := s.resolved(config.AdaptingResolver())
	if err != nil {
		return nil, key.WrapErr(err)
	}
	m, err := adapted.minter(config.LookupLater)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	if s.KeyFile != "" && !strings.Contains(s.KeyFile, "{") {
		err = m.CheckKey()
	}
	return m, config.WrapErr(key, "", err)
}

// provision checks the settings, and the key if it is in no credential.
func (s *JWTSettings) provision() (*jwt.Minter, error) {
	resolve := config.NewResolver()
	resolved, err := s.resolved(resolve)
	if err != nil {
		return nil, err
	}
	m, err := resolved.minter(resolve.Lookup)
	s.transit = resolved.transit
	if err == nil {
		err = m.CheckKey()
	}
	return m, err
}

// resolved returns the settings with placeholders filled in that are in no template.
func (s *JWTSettings) resolved(resolve *config.Resolver) (*JWTSettings, error) {
	resolved := *s
	resolved.KeyFile = resolve.Text("key file", s.KeyFile)
	resolved.VaultTransit = resolve.Text("key vault_transit", s.VaultTransit)
	return &resolved, resolve.Err()
}

// jwt is the config of another scheme's JWT, nil without settings.
func (s *JWTSettings) jwt(name string, resolve *config.Resolver, lookup func(string) (string, error)) (*jwt.Config, error) {
	if s == nil {
		return nil, nil
	}
	resolved, err := s.resolved(resolve)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c, err := resolved.config(lookup)
	s.transit = resolved.transit
	if err == nil && c.KeyFile != "" && !strings.Contains(s.KeyFile, "{") {
		err = config.CheckReadable(c.KeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.Algorithm = cmp.Or(c.Algorithm, "RS256")
	return &c, nil
}

// unmarshal reads a block of settings.
func (s *JWTSettings) unmarshal(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if known, err := s.unmarshalSetting(d); err != nil {
			return err
		} else if !known {
			return d.Errf("unrecognized subdirective '%s' of %s", d.Val(), name)
		}
	}
	return nil
}

func (s *JWTSettings) minter(lookup func(string) (string, error)) (*jwt.Minter, error) {
	c, err := s.config(lookup)
	if err != nil {
		return nil, err
	}
	return jwt.New(c)
}

// config is what a minter is made of, which checks it.
func (s *JWTSettings) config(lookup func(string) (string, error)) (c jwt.Config, err error) {
	c = jwt.Config{Algorithm: s.Algorithm, KeyFile: s.KeyFile, Lifetime: time.Duration(s.Lifetime)}
	if s.Key != "" {
		if c.Key, err = config.ParseSecret(s.Key, lookup); err != nil {
			return c, fmt.Errorf("key: %w", err)
		}
	}
	if s.VaultTransit != "" {
		key, err := vaultstore.ParseTransitKey(s.VaultTransit)
		if err != nil {
			return c, err
		}
		s.transit = &transitKey{key: key}
		c.Signer = s.transit
	}
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		value, err := template.Parse(s.Header[name], lookup)
		if err != nil {
			return c, fmt.Errorf("header %s: %w", name, err)
		}
		c.Header = append(c.Header, jwt.Field{Name: name, Value: value})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Claims)) {
		if len(s.Claims[name]) == 0 {
			return c, fmt.Errorf("claim %s has no value", name)
		}
		for _, text := range s.Claims[name] {
			value, err := template.Parse(text, lookup)
			if err != nil {
				return c, fmt.Errorf("claim %s: %w", name, err)
			}
			c.Claims = append(c.Claims, jwt.Field{Name: name, Value: value})
		}
	}
	return c, nil
}
