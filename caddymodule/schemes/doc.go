// Package schemes has the ways to authenticate requests that come with this plugin: each a
// Caddy module in the namespace upstream_auth.schemes.
package schemes

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Namespace is where schemes are registered.
const Namespace = "upstream_auth.schemes"

func init() {
	caddy.RegisterModule(new(Header))
	caddy.RegisterModule(new(Query))
	caddy.RegisterModule(new(Cookie))
	caddy.RegisterModule(new(Basic))
	caddy.RegisterModule(new(BasePath))
	caddy.RegisterModule(new(OAuth2))
	caddy.RegisterModule(new(JWT))
	caddy.RegisterModule(new(Login))
}

// IsGivenOnce reports whether a provider has the scheme of that name at most once.
func IsGivenOnce(name string) bool {
	return name == "basic" || name == "base_path" || name == "oauth2" || name == "login"
}

// module is what each of them is.
type module interface {
	caddy.Module
	caddy.Provisioner
	caddyfile.Unmarshaler
	scheme.Describer
	Explainer
}

var (
	_ module           = (*Header)(nil)
	_ module           = (*Query)(nil)
	_ module           = (*Cookie)(nil)
	_ module           = (*Basic)(nil)
	_ module           = (*BasePath)(nil)
	_ module           = (*OAuth2)(nil)
	_ module           = (*JWT)(nil)
	_ module           = (*Login)(nil)
	_ scheme.Companion = (*BasePath)(nil)
	_ scheme.Renewer   = (*OAuth2)(nil)
	_ scheme.Renewer   = (*Login)(nil)
)

// Explainer is a scheme that tells what it sets, for operators.
type Explainer interface {
	Sets() []Setting
}

// Setting is something in a request that is set. Its value is the template as it is
// configured: what comes from the credential, the environment or a file is there by name.
type Setting struct {
	In    string `json:"in"` // header, query, cookie or path
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}
