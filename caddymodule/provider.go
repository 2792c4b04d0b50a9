package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/enroll"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
	"github.com/upstreamauth/caddy-upstream-auth/internal/wire"
)

// Provider is one upstream API and how to authenticate to it.
//
// Values hold `{credential.<path>}`, a [gjson path](https://github.com/tidwall/gjson/blob/master/SYNTAX.md)
// in the tenant's credential, and run-time placeholders such as `{env.NAME}` and
// `{file.PATH}`. A secret is never written into the configuration itself.
type Provider struct {
	// The JSON Schema of a credential: a string is the path of a file, an object
	// is the schema itself. It is checked on every read from the store and on every
	// way into it. Default: what the header, query, basic and oauth2 settings need.
	Schema json.RawMessage `json:"schema,omitempty"`

	// Where the credential may be sent. Both the name that is dialled (the TLS
	// server name, where there is one) and the Host that is sent must match a
	// pattern: a host name, an IP address, or `*.` and a name, where the asterisk
	// stands for one label. A pattern with a port allows that port alone.
	// Default: anywhere.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`

	// Fields of the credential that are no secrets, by path. They are offered to
	// the rest of the site as `{upstream_auth.credential.<path>}`, and shown by the
	// credentials API and the administration API, which show no other. A field that
	// the schema says is `writeOnly` cannot be among them.
	Expose []string `json:"expose,omitempty"`

	// Request header fields to set.
	Header []Mapping `json:"header,omitempty"`

	// Query parameters to set.
	Query []Mapping `json:"query,omitempty"`

	// HTTP Basic authentication.
	Basic *Basic `json:"basic,omitempty"`

	// Refresh by OAuth 2.0. Without any header, query or basic the request is
	// sent with `Authorization: Bearer` and the access token.
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`

	// A request that has to succeed with a new credential before that is accepted:
	// from the credentials API, a connection, or the application. Default: none.
	Test *Request `json:"test,omitempty"`

	// A request that ends a credential at its provider, made before it is deleted.
	// Default: oauth2's revocation_url, if it has one, else nothing is revoked.
	Revoke *Request `json:"revoke,omitempty"`

	// The application's own endpoint for credentials. Default: it is not asked.
	FetchCredentials *FetchCredentials `json:"fetch_credentials,omitempty"`
}

// Mapping sets one header field or query parameter.
type Mapping struct {
	Name string `json:"name"`

	// A template that uses at least one placeholder.
	Value string `json:"value"`
}

// Basic is HTTP Basic authentication (RFC 7617).
type Basic struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// provider is a Provider ready for use.
type provider struct {
	name    string
	scheme  *scheme.Scheme
	hosts   wire.HostList // nil: anywhere
	expose  []string
	refresh *refresh.Provider
	enroll  *enroll.Provider
}

// prepared is what a provider makes of one version of a credential.
type prepared struct {
	values  *scheme.Values
	exposed []string // values of provider.expose, in its order
	err     error    // is credential.ErrInvalid; values and exposed are of no use

	// When the access token expires, if that is known, and from when on it may have to be
	// refreshed in the background.
	expires, aheadFrom time.Time
	expiresKnown       bool
}

// prepare checks cred and fills in the templates, once for each version.
func (p *provider) prepare(cred *credential.Credential) *prepared {
	return cred.Memo(p, func() any {
		result := new(prepared)
		if oauth2 := p.scheme.OAuth2(); oauth2 != nil {
			// A malformed time is one that is not known.
			result.expires, result.expiresKnown, _ = oauth2.ExpiresAt(cred)
			result.aheadFrom = result.expires
			if from, ok := refresh.AheadFrom(oauth2, result.expires); ok {
				result.aheadFrom = from
			}
		}
		if result.values, result.err = p.enroll.Values(cred); result.err != nil {
			return result
		}
		result.exposed, result.err = p.enroll.Exposed(cred)
		return result
	}).(*prepared)
}

// values is prepare for a credential that replaces another in mid-request.
func (p *provider) values(cred *credential.Credential) (*scheme.Values, error) {
	ready := p.prepare(cred)
	return ready.values, ready.err
}

// provision checks the configuration and makes it ready.
func (config *Provider) provision(name string) (*provider, error) {
	if err := credential.CheckProvider(name); err != nil {
		return nil, err
	}
	if config == nil { // JSON's null
		return nil, errors.New("there are no settings")
	}
	resolve := newResolver()
	p := &provider{name: name, expose: config.Expose}

	schema, err := loadSchema(config.Schema, resolve)
	if err != nil {
		return nil, err
	}
	if p.hosts, err = config.hosts(); err != nil {
		return nil, err
	}
	options, err := config.schemeOptions(resolve.lookup)
	if err != nil {
		return nil, err
	}
	if config.OAuth2 != nil {
		if err := config.OAuth2.complete(options.OAuth2, resolve); err != nil {
			return nil, fmt.Errorf("oauth2: %w", err)
		}
	}
	if p.scheme, err = scheme.New(options); err != nil {
		return nil, err
	}

	fingerprint, err := config.fingerprint()
	if err != nil {
		return nil, err
	}
	p.refresh = &refresh.Provider{Name: name, Scheme: p.scheme, Fingerprint: fingerprint}
	if p.enroll, err = config.enroll(p, schema, resolve); err != nil {
		return nil, err
	}
	return p, nil
}

// enroll makes ready what it takes to take credentials in.
func (config *Provider) enroll(p *provider, schema *credential.Schema, resolve *resolver) (*enroll.Provider, error) {
	e := &enroll.Provider{Name: p.name, Scheme: p.scheme, Expose: p.expose}
	if p.hosts != nil {
		e.AllowedHost = p.hosts.Allows
	}
	if schema != nil {
		e.Schemas = append(e.Schemas, schema)
	}
	builtin, err := credential.CompileSchema(p.scheme.Schema())
	if err != nil {
		return nil, fmt.Errorf("the scheme's own schema: %w", err)
	}
	e.Schemas = append(e.Schemas, builtin)
	if err := checkExpose(p.expose, e.Schemas...); err != nil {
		return nil, err
	}
	if config.Test != nil {
		if e.Test, err = config.Test.request(http.MethodGet, config.AllowedHosts, resolve.lookup); err != nil {
			return nil, fmt.Errorf("test: %w", err)
		}
	}
	if e.Revocation, err = config.revocation(resolve); err != nil {
		return nil, err
	}
	if config.FetchCredentials != nil {
		if e.Fetch, err = config.FetchCredentials.fetch(resolve); err != nil {
			return nil, fmt.Errorf("fetch_credentials: %w", err)
		}
	}
	return e, nil
}

// revocation returns how a credential is ended, nil if there is no way to.
func (config *Provider) revocation(resolve *resolver) (*enroll.Revocation, error) {
	if config.Revoke != nil {
		request, err := config.Revoke.request(http.MethodDelete, config.AllowedHosts, resolve.lookup)
		if err != nil {
			return nil, fmt.Errorf("revoke: %w", err)
		}
		return &enroll.Revocation{Request: request}, nil
	}
	if config.OAuth2 == nil || config.OAuth2.RevocationURL == "" {
		return nil, nil
	}
	address := resolve.text("revocation_url", config.OAuth2.RevocationURL)
	if resolve.err != nil {
		return nil, resolve.err
	}
	if err := checkEndpoint(address); err != nil {
		return nil, fmt.Errorf("oauth2: revocation_url: %w", err)
	}
	return &enroll.Revocation{URL: address}, nil
}

// hosts parses allowed_hosts. None is a nil list, which allows all.
func (config *Provider) hosts() (wire.HostList, error) {
	if len(config.AllowedHosts) == 0 {
		return nil, nil
	}
	hosts, err := wire.ParseHosts(config.AllowedHosts)
	if err != nil {
		return nil, fmt.Errorf("allowed_hosts: %w", err)
	}
	return hosts, nil
}

// schemeOptions parses all templates. It is what adapting a Caddyfile can check
// too, with a lookup that does not know the values.
func (config *Provider) schemeOptions(lookup func(string) (string, error)) (scheme.Options, error) {
	var options scheme.Options
	for _, m := range config.Header {
		value, err := parseValue(m.Value, lookup)
		if err != nil {
			return options, fmt.Errorf("header %s: %w", m.Name, err)
		}
		options.Headers = append(options.Headers, scheme.Header{Name: m.Name, Value: value})
	}
	for _, m := range config.Query {
		value, err := parseValue(m.Value, lookup)
		if err != nil {
			return options, fmt.Errorf("query %s: %w", m.Name, err)
		}
		options.Queries = append(options.Queries, scheme.Query{Name: m.Name, Value: value})
	}
	if config.Basic != nil {
		if !strings.Contains(config.Basic.User+config.Basic.Password, "{") {
			return options, fmt.Errorf("basic: %w", errInlineSecret)
		}
		user, err := scheme.ParseTemplate(config.Basic.User, lookup)
		if err != nil {
			return options, fmt.Errorf("basic: user: %w", err)
		}
		password, err := scheme.ParseTemplate(config.Basic.Password, lookup)
		if err != nil {
			return options, fmt.Errorf("basic: password: %w", err)
		}
		options.Basic = &scheme.Basic{User: user, Password: password}
	}
	if config.OAuth2 != nil {
		oauth2, err := config.OAuth2.scheme(lookup)
		if err != nil {
			return options, fmt.Errorf("oauth2: %w", err)
		}
		options.OAuth2 = oauth2
	}
	return options, nil
}

// errInlineSecret refuses values that would put a secret into the configuration.
var errInlineSecret = errors.New("a secret is not written into the configuration: " +
	"use {credential.<path>}, {env.NAME} or {file.PATH}")

// parseValue parses a template that carries a secret.
func parseValue(text string, lookup func(string) (string, error)) (*scheme.Template, error) {
	if !strings.Contains(text, "{") {
		return nil, errInlineSecret
	}
	return scheme.ParseTemplate(text, lookup)
}

// checkExpose reports whether every path can name a placeholder, and may be shown.
func checkExpose(paths []string, schemas ...*credential.Schema) error {
	for _, path := range paths {
		if path == "" || strings.ContainsAny(path, "{}") {
			return fmt.Errorf("expose: %q is not a path", path)
		}
		for _, schema := range schemas {
			if schema.WriteOnly(path) {
				return fmt.Errorf("expose: the schema says that %q is writeOnly", path)
			}
		}
	}
	return nil
}

// loadSchema compiles a schema given inline or by the path of a file.
func loadSchema(config json.RawMessage, resolve *resolver) (*credential.Schema, error) {
	if len(config) == 0 {
		return nil, nil
	}
	document := []byte(config)
	if bytes.HasPrefix(bytes.TrimSpace(config), []byte(`"`)) {
		var file string
		if err := json.Unmarshal(config, &file); err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		if file = resolve.text("schema", file); resolve.err != nil {
			return nil, resolve.err
		}
		var err error
		if document, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
	}
	schema, err := credential.CompileSchema(document)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return schema, nil
}

// fingerprint tells configurations of a provider apart.
func (config *Provider) fingerprint() (string, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("marshalling the configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
