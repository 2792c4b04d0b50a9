package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/connect"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

func init() {
	caddy.RegisterModule(new(Connect))
}

// Connect lets an end user connect an account in a browser: the OAuth 2.0
// authorization code flow (RFC 6749, section 4.1) with PKCE (RFC 7636), which ends
// with a new credential in the store. A short-lived link starts it, which opens a page
// that says what is about to be connected to what; the credentials API and the command
// `caddy upstream-auth connect-link` make such links.
//
// For a redirect URI `https://connect.example.com/oauth/callback` it serves that path
// and its sibling `/oauth/connect`, where links lead, on that host, and leaves all
// other requests to the next handler.
//
// The provider has an `oauth2` with an `issuer` or an `authorization_url`. For one whose
// credentials people have, such as API keys, the page is a form instead, at `/oauth/connect`
// alone: see `form`.
type Connect struct {
	// The provider, by its name in the app `upstream_auth`.
	Provider string `json:"provider"`

	connect.Settings

	// How long a link may be opened, at most 24h. Default: 15m.
	LinkTTL caddy.Duration `json:"link_ttl,omitempty"`

	app      App
	flow     *connect.Flow
	formLine *caddyfile.Dispenser // where a Caddyfile says form
}

// CaddyModule returns the Caddy module information.
func (*Connect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.upstream_auth_connect",
		New: func() caddy.Module { return new(Connect) },
	}
}

// Provision checks the configuration. Nothing is dialled.
func (c *Connect) Provision(ctx caddy.Context) error {
	if err := c.provision(ctx); err != nil {
		return fmt.Errorf("upstream_auth_connect: %w", err)
	}
	return nil
}

func (c *Connect) provision(ctx caddy.Context) error {
	app, provider, err := appOf(ctx, c.Provider)
	if err != nil {
		return err
	}
	c.app = app
	var filledIn *form.Form
	if c.Form != nil {
		if filledIn, err = provider.Form(); err != nil {
			return err
		}
	}
	settings, err := c.Config(schemes.OAuth2Of(provider.Schemes), filledIn, config.NewResolver())
	if err != nil {
		return err
	}
	logger := ctx.Slogger()
	settings.Logger = logger
	settings.Links = app.Service().Links.Registry
	settings.Check = func(document []byte) error {
		_, err := lifecycle.Check(provider, document)
		return err
	}
	settings.Accept = func(ctx context.Context, tenant credential.Tenant, document []byte) error {
		if c.Form != nil { // a code that was spent is not let go for want of a place
			account, err := provider.Budget.Take(string(tenant), budget.Calls)
			if err != nil {
				return err
			}
			defer account.Give(budget.Calls, 1)
		}
		_, err := app.Service().Lifecycle.Put(ctx, provider, tenant, lifecycle.Change{Document: document, By: "connect", Logger: logger})
		if test, ok := errors.AsType[*upstream.TestError](err); ok && test.Rejected() {
			return fmt.Errorf("%w: %w", credential.ErrInvalid, err) // another account may do
		}
		return err
	}
	settings.Stored = func(ctx context.Context, tenant credential.Tenant) (*credential.Credential, error) {
		return app.Service().Lifecycle.Get(ctx, provider, tenant)
	}
	if provider.Revocation != nil {
		settings.Revoke = func(ctx context.Context, document []byte) error {
			cred, err := credential.New(credential.Document{Data: document})
			if err != nil {
				return err
			}
			return provider.Revoke(ctx, cred)
		}
	}
	if c.flow, err = connect.New(*settings); err != nil {
		return err
	}
	identity, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := app.Service().Links.Add(c.Provider, c.flow, string(identity)); err != nil {
		return fmt.Errorf("provider %s: %w", c.Provider, err)
	}
	return nil
}

// Config checks the settings together with those of the provider, its oauth2 or what people
// fill in, as far as adapting a Caddyfile can tell.
func (c *Connect) Config(o *schemes.OAuth2, filledIn *form.Form, resolve *config.Resolver) (*connect.Config, error) {
	settings := &connect.Config{
		Provider:    c.Provider,
		Application: resolve.Text("application", c.Application),
		Ask:         c.Ask,
		LinkTTL:     time.Duration(c.LinkTTL),
		Form:        filledIn,
	}
	switch {
	case c.Form != nil:
		settings.HelpURL = resolve.URL("form", c.Form.HelpURL)
	case o == nil:
		return nil, errors.New("say form, for what people type in: the provider has no oauth2")
	default:
		settings.OAuth2, settings.Issuer, settings.Scopes = o.Renewer, resolve.URL("issuer", o.Issuer), o.Renewer.Scopes
		settings.IDTokenFields, settings.UserinfoFields = schemes.FieldMappings(o.IDTokenFields), schemes.FieldMappings(o.UserinfoFields)
		var err error
		if settings.AuthorizationURL, err = o.Endpoint("authorization_url", o.AuthorizationURL, resolve); err != nil {
			return nil, err
		}
		if settings.UserinfoURL, err = o.Endpoint("userinfo_url", o.UserinfoURL, resolve); err != nil {
			return nil, err
		}
	}
	var err error
	if len(c.Scopes) > 0 {
		if settings.Scopes, err = schemes.ScopeTemplates(c.Scopes, resolve); err != nil {
			return nil, err
		}
	}
	if settings.Params, err = schemes.Templates("param", c.Params, resolve); err != nil {
		return nil, err
	}
	if settings.TokenParams, err = schemes.Templates("token_param", c.TokenParams, resolve); err != nil {
		return nil, err
	}
	for _, uri := range c.RedirectURIs {
		settings.RedirectURIs = append(settings.RedirectURIs, resolve.URL("redirect_uris", uri))
	}
	for _, address := range c.ReturnTo {
		settings.ReturnTo = append(settings.ReturnTo, resolve.URL("return_to", address))
	}
	if resolve.Err() != nil {
		return nil, resolve.Err()
	}
	return settings, nil
}

// ServeHTTP serves the links and the way back from the authorization server.
func (c *Connect) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	release, ok := c.app.Use()
	if !ok {
		w.Header().Set("Retry-After", proxy.RetryAfter)
		return caddyhttp.Error(http.StatusServiceUnavailable, rest.ErrConfigurationGone)
	}
	defer release()
	// Other handlers may have taken a part off the path; the redirect URI has all of it.
	original := r
	if o, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		original = r.Clone(r.Context())
		original.URL = o.URL
	}
	if !c.flow.Serves(original) {
		return next.ServeHTTP(w, r)
	}
	CloseAfterUpload(w, r)
	c.flow.ServeHTTP(w, original)
	return nil
}

var (
	_ caddy.Provisioner           = (*Connect)(nil)
	_ caddyhttp.MiddlewareHandler = (*Connect)(nil)
)

// checkRedirectURIs is what a Caddyfile's line can get wrong alone.
func checkRedirectURIs(uris []string) error {
	for _, uri := range uris {
		if strings.Contains(uri, "{") {
			continue
		}
		if err := config.CheckEndpoint(uri); err != nil {
			return fmt.Errorf("redirect_uris: '%s': %w", uri, err)
		}
	}
	return nil
}
