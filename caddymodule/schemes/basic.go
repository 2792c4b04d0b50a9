package schemes

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Basic is HTTP Basic authentication (RFC 7617), in UTF-8.
type Basic struct {
	// The user name: a template. Some services take an API key for it.
	User string `json:"user"`

	// The password: a template, which may be empty. One of the two uses a placeholder.
	Password string `json:"password"`

	user, password *template.Template
}

// CaddyModule returns the Caddy module information.
func (*Basic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".basic", New: func() caddy.Module { return new(Basic) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	basic <user> <password>
func (b *Basic) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if b.User, b.Password, err = config.NamedArg(d); err != nil {
		return err
	}
	return config.WrapErr(d, "", b.prepare(config.LookupLater))
}

// Provision checks the settings.
func (b *Basic) Provision(caddy.Context) error { return b.prepare(config.NewResolver().Lookup) }

func (b *Basic) prepare(lookup func(string) (string, error)) (err error) {
	if !strings.Contains(b.User+b.Password, "{") {
		return fmt.Errorf("basic: %w", config.ErrInlineSecret)
	}
	if b.user, err = template.Parse(b.User, lookup); err != nil {
		return fmt.Errorf("basic: user: %w", err)
	}
	if b.password, err = template.Parse(b.Password, lookup); err != nil {
		return fmt.Errorf("basic: password: %w", err)
	}
	if b.user.IsEmpty() {
		return errors.New("basic has no user name")
	}
	if err := b.user.CheckLiterals(userText); err != nil {
		return fmt.Errorf("user name of basic: %w", err)
	}
	if err := b.password.CheckLiterals(passwordText); err != nil {
		return fmt.Errorf("password of basic: %w", err)
	}
	return nil
}

// userText is the [template.Rule] for user names: RFC 7617 section 2 takes the first colon
// for the end of the name, and allows no control characters.
func userText(value string) string {
	if strings.Contains(value, ":") {
		return "has a colon in it, which a user name cannot have"
	}
	if value == "" {
		return "is empty"
	}
	return passwordText(value)
}

func passwordText(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has a control character in it"
	}
	if !utf8.ValidString(value) {
		return "is not UTF-8"
	}
	return ""
}

const authorization = "Authorization"

// Names implements [scheme.Scheme].
func (b *Basic) Names() scheme.Names { return scheme.Names{Header: []string{authorization}} }

// Schema implements [scheme.Describer].
func (b *Basic) Schema() json.RawMessage { return template.Schema(b.user, b.password) }

// Sets implements [Explainer].
func (b *Basic) Sets() []Setting {
	return []Setting{{"header", authorization, "Basic base64(" + b.User + ":" + b.Password + ")"}}
}

// SetsHeaderAlone says that requests' URLs stay as they are.
func (b *Basic) SetsHeaderAlone() {}

// Bind implements [scheme.Scheme].
func (b *Basic) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	user, err := b.user.ExecuteWith(c, userText)
	if err != nil {
		return nil, err
	}
	password, err := b.password.ExecuteWith(c, passwordText)
	if err != nil {
		return nil, err
	}
	return &field{authorization, "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}, nil
}
