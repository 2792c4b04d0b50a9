// Package api holds the handlers by which credentials come in: the credentials API, and
// connecting in a browser.
package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func init() {
	caddy.RegisterModule(new(API))
}

// API is the credentials API: tenants bring their own credentials, and operators
// those of any tenant, at any time. Callers authenticate by a bearer token, a JWT.
//
// It serves these paths and leaves all others to the next handler:
//
//   - `GET /self`, `PATCH /self`: the tenant that the token names
//   - `POST /self/connect-link`: a link by which the tenant connects an account;
//     `DELETE` withdraws all that there are
//   - `POST /self/test`: makes the provider's test with its credential
//   - `GET`, `PUT`, `PATCH`, `DELETE /tenants/{tenant}`, `POST /tenants/{tenant}/test` and
//     `POST`, `DELETE /tenants/{tenant}/connect-link`: any tenant, for operators
//
// `PATCH` and `PUT` take `{"credentials": {…}}`, which replaces the credential after
// it was checked. Answers have an `ETag`; `If-Match` and `If-None-Match: *` are
// honoured. No answer has a secret in it: of a credential it shows what the provider
// exposes. last_outcome is what happened last to the credential in this process: at,
// outcome, failure, status, retry_at. Errors are JSON, with `code` and `message`.
type API struct {
	// The provider, by its name in the app `upstream_auth`.
	Provider string `json:"provider"`

	// Which tokens are accepted: until 30s after their expiry, by which much clocks may
	// differ.
	bearer.Config

	// The origins of web pages that may use the API. Default: none.
	CORSOrigins []string `json:"cors_origins,omitempty"`

	app        App
	collection rest.Collection
	verifier   *bearer.Verifier
	origins    origins
	logger     *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.upstream_auth_api",
		New: func() caddy.Module { return new(API) },
	}
}

// Provision checks the configuration.
func (a *API) Provision(ctx caddy.Context) error {
	a.logger = ctx.Slogger()
	app, provider, err := appOf(ctx, a.Provider)
	if err != nil {
		return fmt.Errorf("upstream_auth_api: %w", err)
	}
	if err := app.CheckWritable("upstream_auth_api"); err != nil {
		return err
	}
	a.app, a.collection = app, rest.Collection{Service: app.Service(), Provider: provider, By: "api", Logger: a.logger}
	if a.Config, err = config.ResolveBearer(a.Config, config.NewResolver()); err != nil {
		return fmt.Errorf("upstream_auth_api: %w", err)
	}
	app.AddChecks(config.BearerChecks("the credentials API of provider "+a.Provider, &a.Config)...)
	if a.verifier, err = bearer.New(a.Config); err != nil {
		return fmt.Errorf("upstream_auth_api: %w", err)
	}
	if a.origins, err = parseOrigins(a.CORSOrigins); err != nil {
		return fmt.Errorf("upstream_auth_api: %w", err)
	}
	return nil
}

// ServeHTTP answers what is the API's, and leaves the rest to the next handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	target, ours := parseTarget(r.URL.Path)
	if !ours {
		return next.ServeHTTP(w, r)
	}
	CloseAfterUpload(w, r)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.origins.allow(w, r) && isPreflight(r) {
		a.origins.answerPreflight(w, r, target.methods())
		return nil
	}
	release, ok := a.app.Use()
	if !ok {
		return a.answerError(w, r, rest.ErrConfigurationGone)
	}
	defer release()
	call, err := a.authorize(r, target)
	if err != nil {
		return a.answerError(w, r, err)
	}
	if call.account, err = a.collection.Provider.Budget.Take(string(call.name), budget.Calls); err != nil {
		return a.answerError(w, r, err)
	}
	defer call.account.Give(budget.Calls, 1)
	return a.answer(w, r, call)
}

// target is what a request is about.
type target struct {
	tenant string // empty: the caller's own
	action string // what is below the tenant: connect-link or test, or nothing
}

// parseTarget reads a path. ours is false if it is not one of the API's.
func parseTarget(path string) (t target, ours bool) {
	rest, found := strings.CutPrefix(path, "/self")
	if !found {
		if rest, found = strings.CutPrefix(path, "/tenants/"); !found {
			return target{}, false
		}
		t.tenant, rest, found = strings.Cut(rest, "/")
		if found {
			rest = "/" + rest
		}
		if t.tenant == "" {
			return target{}, false
		}
	}
	switch rest {
	case "":
		return t, true
	case "/connect-link", "/test":
		t.action = rest[1:]
		return t, true
	}
	return target{}, false
}

// methods are those that the target takes.
func (t target) methods() string {
	switch {
	case t.action == "connect-link":
		return "DELETE, POST"
	case t.action == "test":
		return "POST"
	case t.tenant == "":
		return "GET, HEAD, PATCH"
	}
	return "GET, HEAD, PUT, PATCH, DELETE"
}

// call is an authorized request.
type call struct {
	target
	name    credential.Tenant
	account budget.Account // that has it in use
}

// authorize finds out who calls, and whether they may do what they ask for.
func (a *API) authorize(r *http.Request, t target) (*call, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return nil, &rest.Error{Status: http.StatusUnauthorized, Code: "token_invalid", Message: "more than one Authorization header"}
	}
	caller, err := a.verifier.Verify(r.Context(), r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	c := &call{target: t, name: caller.Tenant}
	switch {
	case t.tenant == "" && caller.Tenant == "":
		return nil, rest.Forbidden("the token names no tenant")
	case t.tenant == "":
		return c, nil
	case !caller.Operator:
		return nil, rest.Forbidden("the token is not an operator's")
	}
	if c.name, err = credential.ParseTenant(t.tenant); err != nil {
		return nil, &rest.Error{Status: http.StatusBadRequest, Code: "tenant_invalid", Message: err.Error()}
	}
	return c, nil
}

var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
)
