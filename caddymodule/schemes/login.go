package schemes

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Login renews a credential at a server that speaks no OAuth 2.0: it sends something, as a
// user and a password, and takes a token out of the answer. It does so when a credential
// has no token yet, when the upstream rejects the token, and ahead of its expiry.
type Login struct {
	// What to send: one request, or several, one after the other, of which the last one's
	// answer has the token. From the second on they may use `{step1.<path>}`, something in
	// the answer to the first one, and so on.
	Requests []login.Request `json:"requests,omitempty"`

	// A request that gets another token for one of the token_fields that an answer has
	// brought, as `{credential.refresh_token}`. If it is refused, and as long as there is
	// no such token, the login is made. Default: the login is made again.
	Refresh *login.Request `json:"refresh,omitempty"`

	// What is kept of an answer, the token first. All have to be in it; with `refresh`, whose
	// answer may have fewer, the first. Default: access_token.
	TokenFields []login.TokenField `json:"token_fields,omitempty"`

	// How long a token lives: a duration such as `24h`, or where the answer has the seconds,
	// a gjson path. When it ends is kept as `expires_at`. Default: nobody knows.
	ExpiresIn string `json:"expires_in,omitempty"`

	// Where the answer has the time of expiry, a gjson path: as in RFC 3339, or in seconds
	// or milliseconds since 1970. It is kept as `expires_at`.
	ExpiresAtPath string `json:"expires_at,omitempty"`

	// Where requests may go: patterns as in allowed_hosts. Required if the credential, or
	// an answer, has a say in a host.
	TokenHosts []string `json:"token_hosts,omitempty"`

	// Those of connections to the server.
	tlsfiles.Files

	// Of the one among the token_fields that `refresh` uses up, or without that `requests`.
	// If they have none in them, a login uses nothing up, and needs no claim.
	Spending

	*login.Renewer `json:"-"` // nil until the settings are checked
}

// CaddyModule returns the Caddy module information.
func (*Login) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".login", New: func() caddy.Module { return new(Login) }}
}

// Provision checks the settings.
func (conf *Login) Provision(caddy.Context) error {
	resolve := config.NewResolver()
	settings, err := conf.settings()
	if err == nil {
		settings.TLS, err = config.LoadTLS(conf.Files, resolve)
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	conf.Renewer, err = login.New(settings, resolve.Lookup)
	return err
}

// LoginOf returns the one among schemes, nil if there is none.
func LoginOf(all []scheme.Scheme) *Login { return first[*Login](all) }

// Adapt checks the settings as far as adapting a Caddyfile can tell.
func (conf *Login) Adapt() error {
	settings, err := conf.settings()
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	settings.Requests = slices.Clone(conf.Requests)
	for i := range settings.Requests {
		settings.Requests[i] = adaptable(settings.Requests[i])
	}
	if conf.Refresh != nil {
		refresh := adaptable(*conf.Refresh)
		settings.Refresh = &refresh
	}
	conf.Renewer, err = login.New(settings, config.LookupLater)
	return err
}

// adaptable returns r with a scheme and a host where a run-time placeholder stands for them.
func adaptable(r login.Request) login.Request {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL, "{"), "}")
	if strings.HasPrefix(r.URL, "{") && config.CheckRuntimePlaceholder(name) == nil {
		r.URL = "https://unknown.invalid" + rest
	}
	return r
}

// settings are those of the renewer, which checks them, but for files.
func (conf *Login) settings() (c login.Config, err error) {
	c = login.Config{
		Requests: conf.Requests, Refresh: conf.Refresh, TokenFields: conf.TokenFields,
		ExpiresAt: conf.ExpiresAtPath, Renewal: conf.renewal(),
	}
	if c.TokenHosts, err = hosts.Parse(conf.TokenHosts); err != nil {
		return c, fmt.Errorf("token_hosts: %w", err)
	}
	if c.Lifetime, c.ExpiresIn, err = readExpiresIn(conf.ExpiresIn); err != nil {
		return c, err
	}
	return c, tlsfiles.Check(conf.Files)
}

// readExpiresIn reads a duration or a path.
func readExpiresIn(text string) (lifetime time.Duration, path string, err error) {
	if strings.Trim(text, "0123456789") == "" && text != "" {
		return 0, "", fmt.Errorf("expires_in %s has no unit: %ss are seconds", text, text)
	}
	if lifetime, err = caddy.ParseDuration(text); err != nil {
		return 0, text, nil //nolint:nilerr // then it is a path
	}
	if lifetime <= 0 {
		return 0, "", fmt.Errorf("expires_in %s is not a lifetime", text)
	}
	return lifetime, "", nil
}

// Sets implements [Explainer]: it is others that put the token into requests, or the
// default.
func (conf *Login) Sets() []Setting { return nil }
