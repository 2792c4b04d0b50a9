package ownschemes

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func init() { caddy.RegisterModule(new(APIKey)) }

// APIKey sends the credential's field api_key in the header X-Api-Key.
type APIKey struct{}

// CaddyModule names the module.
func (*APIKey) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.api_key", New: func() caddy.Module { return new(APIKey) }}
}

// UnmarshalCaddyfile reads: api_key
func (*APIKey) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the scheme's name
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Names says what is removed from the client's requests.
func (*APIKey) Names() scheme.Names { return scheme.Names{Header: []string{"X-Api-Key"}} }

// Bind looks at one version of a tenant's credential.
func (*APIKey) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	key, err := c.Text("api_key")
	return apiKey(key), err
}

type apiKey string

// Authenticate is called for each attempt at a request.
func (k apiKey) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header.Set("X-Api-Key", string(k))
	return nil
}
