package schemes

import (
	"encoding/json"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Header sets a request header field. It may be there any number of times.
type Header struct {
	// The field's name.
	Name string `json:"name"`

	// A template that uses at least one placeholder.
	Value string `json:"value"`

	value *template.Template
}

// CaddyModule returns the Caddy module information.
func (*Header) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".header", New: func() caddy.Module { return new(Header) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	header <name> <value>
func (h *Header) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if h.Name, h.Value, err = config.NamedArg(d); err != nil {
		return err
	}
	return config.WrapErr(d, "", h.prepare(config.LookupLater))
}

// Provision checks the settings.
func (h *Header) Provision(caddy.Context) error { return h.prepare(config.NewResolver().Lookup) }

func (h *Header) prepare(lookup func(string) (string, error)) (err error) {
	h.value, err = parseMapped("header", h.Name, h.Value, template.HeaderText, lookup)
	return err
}

// Names implements [scheme.Scheme].
func (h *Header) Names() scheme.Names { return scheme.Names{Header: []string{h.Name}} }

// Schema implements [scheme.Describer].
func (h *Header) Schema() json.RawMessage { return template.Schema(h.value) }

// Sets implements [Explainer].
func (h *Header) Sets() []Setting {
	return []Setting{{"header", http.CanonicalHeaderKey(h.Name), h.Value}}
}

// SetsHeaderAlone says that requests' URLs stay as they are.
func (h *Header) SetsHeaderAlone() {}

// Bind implements [scheme.Scheme].
func (h *Header) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	value, err := h.value.ExecuteWith(c, template.Header)
	if err != nil {
		return nil, err
	}
	name := http.CanonicalHeaderKey(h.Name)
	if name == cookieHeader { // the one field that others may set, too
		pair := pair(value)
		return &pair, nil
	}
	return &field{name, value}, nil
}

// field is a header field.
type field struct{ name, value string }

// Authenticate implements [scheme.Authenticator].
func (f *field) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header[f.name] = []string{f.value}
	return nil
}
