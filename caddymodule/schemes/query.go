package schemes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Query sets a parameter of the query. It may be there any number of times.
type Query struct {
	// The parameter's name.
	Name string `json:"name"`

	// A template that uses at least one placeholder.
	Value string `json:"value"`

	value *template.Template
}

// CaddyModule returns the Caddy module information.
func (*Query) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".query", New: func() caddy.Module { return new(Query) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	query <name> <value>
func (q *Query) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if q.Name, q.Value, err = config.NamedArg(d); err != nil {
		return err
	}
	return config.WrapErr(d, "", q.prepare(config.LookupLater))
}

// Provision checks the settings.
func (q *Query) Provision(caddy.Context) error { return q.prepare(config.NewResolver().Lookup) }

func (q *Query) prepare(lookup func(string) (string, error)) (err error) {
	if wrong := template.Text(q.Name); wrong != "" {
		return fmt.Errorf("name of query parameter %q %s", q.Name, wrong)
	}
	q.value, err = parseMapped("query", q.Name, q.Value, template.Text, lookup)
	return err
}

// Names implements [scheme.Scheme].
func (q *Query) Names() scheme.Names { return scheme.Names{Query: []string{q.Name}} }

// Schema implements [scheme.Describer].
func (q *Query) Schema() json.RawMessage { return template.Schema(q.value) }

// Sets implements [Explainer].
func (q *Query) Sets() []Setting { return []Setting{{"query", q.Name, q.Value}} }

// Bind implements [scheme.Scheme].
func (q *Query) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	value, err := q.value.ExecuteWith(c, template.Text)
	if err != nil {
		return nil, err
	}
	p := parameter(url.QueryEscape(q.Name) + "=" + url.QueryEscape(value))
	return &p, nil
}

// parameter is name=value, escaped.
type parameter string

// Authenticate implements [scheme.Authenticator].
func (p *parameter) Authenticate(req *http.Request, _ scheme.Body) error {
	if req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += string(*p)
	return nil
}
