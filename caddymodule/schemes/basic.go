package schemes

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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
		return fmt.Errorf("basic: %w", template.ErrInlineSecret)
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
	if err := b.user.CheckLiterals(template.BasicUser); err != nil {
		return fmt.Errorf("user name of basic: %w", err)
	}
	if err := b.password.CheckLiterals(template.NoControl); err != nil {
		return fmt.Errorf("password of basic: %w", err)
	}
	return nil
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
	user, err := b.user.ExecuteWith(c, template.BasicUser)
	if err != nil {
		return nil, err
	}
	password, err := b.password.ExecuteWith(c, template.NoControl)
	if err != nil {
		return nil, err
	}
	return &field{authorization, "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}, nil
}
