package schemes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Cookie sends a cookie (RFC 6265). It may be there any number of times. Cookies that the
// client sends are not sent on.
type Cookie struct {
	// The cookie's name.
	Name string `json:"name"`

	// A template that uses at least one placeholder.
	Value string `json:"value"`

	value *template.Template
}

// CaddyModule returns the Caddy module information.
func (*Cookie) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".cookie", New: func() caddy.Module { return new(Cookie) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	cookie <name> <value>
func (k *Cookie) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if k.Name, k.Value, err = config.NamedArg(d); err != nil {
		return err
	}
	return config.WrapErr(d, "", k.prepare(config.LookupLater))
}

// Provision checks the settings.
func (k *Cookie) Provision(caddy.Context) error { return k.prepare(config.NewResolver().Lookup) }

func (k *Cookie) prepare(lookup func(string) (string, error)) (err error) {
	if !httpguts.ValidHeaderFieldName(k.Name) { // a token, too
		return fmt.Errorf("%q is not the name of a cookie", k.Name)
	}
	k.value, err = parseMapped("cookie", k.Name, k.Value, k.rule(), lookup)
	return err
}

// rule is that of RFC 6265, section 4.1.1: a whole value may be in quotes.
func (k *Cookie) rule() template.Rule {
	if config.IsOnePlaceholder(k.Value) {
		return cookieValue
	}
	return cookieText
}

// cookieValue is the [template.Rule] for a cookie's whole value.
func cookieValue(value string) string {
	if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return cookieText(value)
}

// cookieText is the [template.Rule] for a part of a cookie's value.
func cookieText(value string) string {
	if value == "" {
		return "is empty"
	}
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`",;\`, c) >= 0 {
			return "has a character in it that cannot stand in a cookie"
		}
	}
	return ""
}

const cookieHeader = "Cookie"

// Names implements [scheme.Scheme].
func (k *Cookie) Names() scheme.Names { return scheme.Names{Header: []string{cookieHeader}} }

// Schema implements [scheme.Describer].
func (k *Cookie) Schema() json.RawMessage { return template.Schema(k.value) }

// Sets implements [Explainer].
func (k *Cookie) Sets() []Setting { return []Setting{{"cookie", k.Name, k.Value}} }

// SetsHeaderAlone says that requests' URLs stay as they are.
func (k *Cookie) SetsHeaderAlone() {}

// Bind implements [scheme.Scheme].
func (k *Cookie) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	value, err := k.value.ExecuteWith(c, k.rule())
	if err != nil {
		return nil, err
	}
	pair := pair(k.Name + "=" + value)
	return &pair, nil
}

// pair is a cookie.
type pair string

// Authenticate implements [scheme.Authenticator].
func (p *pair) Authenticate(req *http.Request, _ scheme.Body) error {
	value := string(*p)
	switch others := req.Header[cookieHeader]; len(others) {
	case 0:
	case 1:
		value = others[0] + "; " + value
	default:
		return errors.New("there are several Cookie fields")
	}
	req.Header[cookieHeader] = []string{value}
	return nil
}
