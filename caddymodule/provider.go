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

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Provider is one upstream API and how to authenticate to it.
//
// Values hold `{credential.<path>}`, a [gjson path](https://github.com/tidwall/gjson/blob/master/SYNTAX.md)
// in the tenant's credential, and run-time placeholders such as `{env.NAME}` and
// `{file.PATH}`. A secret is never written into the configuration itself.
type Provider struct {
	// The JSON Schema of a credential: a string is the path of a file, an object
	// is the schema itself. It is checked on every read from the store and on every
	// way into it. Default: what its schemes need.
	Schema json.RawMessage `json:"schema,omitempty"`

	// Where the credential may be sent. Both the name that is dialled (the TLS
	// server name, where there is one that is verified) and the Host that is sent must match a
	// pattern: a host name, an IP address, or `*.` and a name, where the asterisk
	// stands for one label. A pattern with a port allows that port alone. A Unix socket
	// is `unix//` and its path. Default: the hosts of a site's upstreams, which the
	// requests name then, too.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`

	// Whether sites may speak to upstreams on other machines without TLS. Default: a site
	// says so itself.
	InsecureHTTP bool `json:"insecure_http,omitempty"`

	// Fields of the credential that are no secrets, by path. They are offered to
	// the rest of the site as `{upstream_auth.credential.<path>}`, and shown by the
	// credentials API and the administration API, which show no other. A field that
	// the schema says is `writeOnly` cannot be among them.
	Expose []string `json:"expose,omitempty"`

	// How requests are authenticated: one or more, applied in this order. A provider has at
	// most one that renews credentials. If no other beside that says who makes a request,
	// its token is sent as `Authorization: Bearer`.
	SchemesRaw []json.RawMessage `json:"schemes,omitempty" caddy:"namespace=upstream_auth.schemes inline_key=scheme"`

	// A request that has to succeed with a new credential before that is accepted:
	// from the credentials API, a connection, or the application. Default: none.
	Test *Request `json:"test,omitempty"`

	// A request that ends a credential at its provider, made before it is deleted.
	// Default: oauth2's revocation_url, if it has one, else nothing is revoked.
	Revoke *Request `json:"revoke,omitempty"`

	// How answers are heeded that say that too much is asked. Default: they are passed on,
	// and forgotten.
	RetryAfter *RetryAfter `json:"retry_after,omitempty"`

	// The application's own endpoint for credentials. Default: it is not asked.
	FetchCredentials *FetchCredentials `json:"fetch_credentials,omitempty"`

	// What its tenants may have in use at the same time. Limits for one tenant count instead
	// of the app's, those for all tenants besides them. Default: as the app's.
	Limits *Limits `json:"limits,omitempty"`

	schemes []scheme.Scheme // loaded, or read from a Caddyfile
}

// Mapping sets one header field.
type Mapping struct {
	Name string `json:"name"`

	// A template that uses at least one placeholder.
	Value string `json:"value"`
}

// movedSettings are those that were a provider's own once and are schemes now.
var movedSettings = []struct{ name, instead string }{
	{"header", `{"scheme": "header", "name": …, "value": …} for each`},
	{"query", `{"scheme": "query", "name": …, "value": …} for each`},
	{"basic", `{"scheme": "basic", "user": …, "password": …}`},
	{"oauth2", `{"scheme": "oauth2", …}`},
}

// UnmarshalJSON refuses settings that are not known, and says where those went that were.
func (conf *Provider) UnmarshalJSON(text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	for _, moved := range movedSettings {
		if _, given := fields[moved.name]; given {
			return fmt.Errorf("a provider has no %s any more: put %s into its list schemes", moved.name, moved.instead)
		}
	}
	type plain Provider // without this method
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode((*plain)(conf))
}

// load loads the schemes.
func (conf *Provider) load(ctx caddy.Context) error {
	if len(conf.SchemesRaw) == 0 {
		return nil // upstream.New says so
	}
	modules, err := ctx.LoadModule(conf, "SchemesRaw")
	if err != nil {
		return fmt.Errorf("schemes: %w", err)
	}
	conf.schemes = nil
	for _, module := range modules.([]any) {
		s, ok := module.(scheme.Scheme)
		if !ok {
			return fmt.Errorf("schemes: %T is not a scheme", module)
		}
		conf.schemes = append(conf.schemes, s)
	}
	return nil
}

// renewer returns the scheme that renews credentials, nil if there is none.
func (conf *Provider) renewer() scheme.Renewer {
	for _, s := range conf.schemes {
		if r, ok := s.(scheme.Renewer); ok {
			return r
		}
	}
	return nil
}

// oauth2 returns the scheme of that name, nil if there is none.
func (conf *Provider) oauth2() *schemes.OAuth2 { return schemes.OAuth2Of(conf.schemes) }

// provision checks the configuration and makes it ready.
func (conf *Provider) provision(ctx caddy.Context, name string) (*upstream.Provider, error) {
	if err := credential.CheckProvider(name); err != nil {
		return nil, err
	}
	if conf == nil { // JSON's null
		return nil, errors.New("there are no settings")
	}
	fingerprint, err := conf.fingerprint() // before Caddy forgets the modules' JSON
	if err != nil {
		return nil, err
	}
	if err := conf.load(ctx); err != nil {
		return nil, err
	}
	if err := conf.Limits.check(); err != nil {
		return nil, err
	}
	resolve := config.NewResolver()
	p := upstream.Provider{Schemes: conf.schemes, Expose: conf.Expose}
	if p.Hosts, err = conf.allowedHosts(); err != nil {
		return nil, err
	}
	if p.OwnSchema, p.Schemas, err = conf.schemas(resolve); err != nil {
		return nil, err
	}
	if err := checkExpose(p.Expose, p.Schemas...); err != nil {
		return nil, err
	}
	p.Provider = renew.NewProvider(name, conf.renewer(), fingerprint)
	if conf.Test != nil {
		if p.Test, err = conf.Test.request(http.MethodGet, conf.AllowedHosts, resolve.Lookup); err != nil {
			return nil, fmt.Errorf("test: %w", err)
		}
	}
	if p.Revocation, err = conf.revocation(resolve); err != nil {
		return nil, err
	}
	if conf.RetryAfter != nil {
		if p.RetryAfter, err = conf.RetryAfter.retryAfter(); err != nil {
			return nil, fmt.Errorf("retry_after: %w", err)
		}
	}
	if conf.FetchCredentials != nil {
		if p.Fetch, err = conf.FetchCredentials.fetch(resolve); err != nil {
			return nil, fmt.Errorf("fetch_credentials: %w", err)
		}
	}
	return upstream.New(p)
}

// schemas returns what a credential has to fit: the provider's own schema, if it has one,
// and those of its schemes.
func (conf *Provider) schemas(resolve *config.Resolver) (own *credential.Schema, all []*credential.Schema, err error) {
	if own, err = loadSchema(conf.Schema, resolve); err != nil {
		return nil, nil, err
	}
	if own != nil {
		all = append(all, own)
	}
	for _, s := range conf.schemes {
		described, ok := s.(scheme.Describer)
		if !ok {
			continue
		}
		schema, err := credential.CompileSchema(described.Schema())
		if err != nil {
			return nil, nil, fmt.Errorf("the schema of %T: %w", s, err)
		}
		all = append(all, schema)
	}
	return own, all, nil
}

// revocation returns how a credential is ended, nil if there is no way to.
func (conf *Provider) revocation(resolve *config.Resolver) (*upstream.Revocation, error) {
	if conf.Revoke != nil {
		request, err := conf.Revoke.request(http.MethodDelete, conf.AllowedHosts, resolve.Lookup)
		if err != nil {
			return nil, fmt.Errorf("revoke: %w", err)
		}
		return &upstream.Revocation{Request: request}, nil
	}
	o := conf.oauth2()
	switch {
	case o == nil:
		return nil, nil
	case o.RevocationURL == "" && o.TokenURL == "": // the issuer says where all is
		return new(upstream.Revocation), nil
	case o.RevocationURL == "":
		return nil, nil
	}
	address, err := o.Endpoint("revocation_url", o.RevocationURL, resolve)
	if err != nil {
		return nil, fmt.Errorf("oauth2: %w", err)
	}
	return &upstream.Revocation{URL: address}, nil
}

// allowedHosts parses allowed_hosts. None is a nil list, which allows all.
func (conf *Provider) allowedHosts() (hosts.List, error) {
	if len(conf.AllowedHosts) == 0 {
		return nil, nil
	}
	allowed, err := hosts.Parse(conf.AllowedHosts)
	if err != nil {
		return nil, fmt.Errorf("allowed_hosts: %w", err)
	}
	return allowed, nil
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
func loadSchema(conf json.RawMessage, resolve *config.Resolver) (*credential.Schema, error) {
	if len(conf) == 0 {
		return nil, nil
	}
	document := []byte(conf)
	if bytes.HasPrefix(bytes.TrimSpace(conf), []byte(`"`)) {
		var file string
		if err := json.Unmarshal(conf, &file); err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		if file = resolve.Text("schema", file); resolve.Err() != nil {
			return nil, resolve.Err()
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
func (conf *Provider) fingerprint() (string, error) {
	text, err := json.Marshal(conf)
	if err != nil {
		return "", fmt.Errorf("marshalling the configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
