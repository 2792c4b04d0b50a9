package schemes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// BasePath puts a path before that of each request, for APIs whose paths begin with
// something of the tenant's: an account, or a key.
type BasePath struct {
	// A template that begins with a slash. What comes from the credential stands for
	// itself in a path (RFC 3986, section 2.3).
	Path string `json:"path"`

	path *template.Template
}

// CaddyModule returns the Caddy module information.
func (*BasePath) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".base_path", New: func() caddy.Module { return new(BasePath) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	base_path <path>
func (b *BasePath) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := config.OneArg(d, &b.Path); err != nil {
		return err
	}
	return config.WrapErr(d, "", b.prepare(config.LookupLater))
}

// Provision checks the settings.
func (b *BasePath) Provision(caddy.Context) error { return b.prepare(config.NewResolver().Lookup) }

func (b *BasePath) prepare(lookup func(string) (string, error)) (err error) {
	if !strings.HasPrefix(b.Path, "/") {
		return errors.New("base_path does not begin with a slash")
	}
	b.path, err = template.Parse(b.Path, lookup)
	if err == nil {
		err = b.path.CheckLiterals(pathText)
	}
	if err != nil {
		return fmt.Errorf("base_path: %w", err)
	}
	return nil
}

// pathText is the [template.Rule] for the literal text of a path. What would have to be
// escaped there is refused: a URL with it in its RawPath is escaped anew, and with it what
// the client sent.
func pathText(text string) string {
	unescaped, err := url.PathUnescape(text)
	if u := (url.URL{Path: unescaped, RawPath: text}); err != nil || u.EscapedPath() != text {
		return "is not part of a path"
	}
	return ""
}

// Names implements [scheme.Scheme].
func (b *BasePath) Names() scheme.Names { return scheme.Names{} }

// Companion implements [scheme.Companion].
func (b *BasePath) Companion() {}

// Schema implements [scheme.Describer].
func (b *BasePath) Schema() json.RawMessage { return template.Schema(b.path) }

// Sets implements [Explainer].
func (b *BasePath) Sets() []Setting { return []Setting{{"path", "base_path", b.Path}} }

// Bind implements [scheme.Scheme].
func (b *BasePath) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	text, err := b.path.ExecuteWith(c, template.Unreserved)
	if err != nil {
		return nil, err
	}
	p := prefix(strings.TrimRight(text, "/"))
	return &p, nil
}

// prefix is what stands before a path, escaped.
type prefix string

// Authenticate implements [scheme.Authenticator].
func (p *prefix) Authenticate(req *http.Request, _ scheme.Body) error {
	theirs := req.URL.EscapedPath()
	if req.URL.Opaque != "" || theirs != "" && theirs[0] != '/' { // as OPTIONS *
		return errors.New("the request is for no path")
	}
	// An upstream that removes dot segments must not find others' paths behind ours.
	if clean := path.Clean("." + req.URL.Path); clean == ".." || strings.HasPrefix(clean, "../") {
		return errors.New("the path climbs out of base_path")
	}
	escaped := string(*p) + theirs
	unescaped, err := url.PathUnescape(escaped)
	if err != nil {
		return errors.New("the path cannot be read")
	}
	req.URL.Path, req.URL.RawPath = unescaped, escaped
	return nil
}
