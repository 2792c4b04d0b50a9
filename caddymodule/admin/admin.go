package admin

import (
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is the administration API, on Caddy's admin endpoint and protected as
// that is. In and out goes JSON, and no secret comes out. For a provider P and a
// tenant T it serves:
//
//   - `GET /upstream_auth/P/tenants?after=&limit=`: tenants that have a credential
//   - `GET`, `PUT`, `DELETE /upstream_auth/P/tenants/T`: one of them; the body of a
//     `PUT` is the credential itself
//   - `GET /upstream_auth/P/tenants/T/explain`: what requests are sent with, and what
//     happens when the upstream rejects it
//   - `POST /upstream_auth/P/tenants/T/refresh`, `…/revoke`, `…/test` and `…/connect-link`
//   - `DELETE /upstream_auth/P/tenants/T/connect-link`: withdraws the tenant's links
//   - `DELETE /upstream_auth/connect-links`: withdraws all tenants' links
//   - `GET /upstream_auth/doctor`: whether all that it takes is there
//
// With a tenant comes last_outcome, what happened last to its credential in this
// process: at, outcome, failure, status, error and error_description of the token
// endpoint, message, retry_at.
//
// An error has the code of the credentials API before its text, and in the header
// Upstream-Auth-Error.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.upstream_auth",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// adminCall is a request to the administration API.
type adminCall struct {
	*http.Request
	app        App
	collection *rest.Collection  // nil: the path names no provider
	tenant     credential.Tenant // empty: it names none
}

// adminMethods are what can be done with a path.
type adminMethods map[string]func(http.ResponseWriter, *adminCall) error

// Routes implements [caddy.AdminRouter].
func (adminAPI) Routes() []caddy.AdminRoute {
	const tenants = "/upstream_auth/{provider}/tenants"
	var routes []caddy.AdminRoute
	for pattern, methods := range map[string]adminMethods{
		"/upstream_auth/doctor":        {http.MethodGet: adminDoctor},
		"/upstream_auth/connect-links": {http.MethodDelete: adminWithdrawLinks},
		tenants:                        {http.MethodGet: adminList},
		tenants + "/{tenant}": {
			http.MethodGet: onTenant((*rest.Collection).Get), http.MethodPut: adminPut, http.MethodDelete: onTenant((*rest.Collection).Delete),
		},
		tenants + "/{tenant}/explain": {http.MethodGet: adminExplain},
		tenants + "/{tenant}/refresh": {http.MethodPost: onTenant((*rest.Collection).Refresh)},
		tenants + "/{tenant}/revoke":  {http.MethodPost: onTenant((*rest.Collection).Revoke)},
		tenants + "/{tenant}/test":    {http.MethodPost: onTenant((*rest.Collection).Test)},
		tenants + "/{tenant}/connect-link": {
			http.MethodPost: onTenant((*rest.Collection).Connect), http.MethodDelete: onTenant((*rest.Collection).WithdrawLinks),
		},
	} {
		routes = append(routes, caddy.AdminRoute{Pattern: pattern, Handler: caddy.AdminHandlerFunc(methods.serve)})
	}
	return routes
}

// serve answers a request, or returns the error for Caddy to answer.
func (m adminMethods) serve(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	call := &adminCall{Request: r}
	err := m.answer(w, call)
	if err == nil {
		return nil
	}
	e := rest.ErrorOf(r, err, true)
	if e.Status >= 500 {
		call.logger().Warn("administration API", "provider", r.PathValue("provider"), "code", e.Code, "error", err)
	}
	if e.Status == http.StatusMethodNotAllowed {
		header.Set("Allow", strings.Join(slices.Sorted(maps.Keys(m)), ", "))
	}
	if retryAfter := e.RetryAfter(err); retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	header.Set(proxy.HeaderError, e.Code)
	return caddy.APIError{HTTPStatus: e.Status, Err: e, Message: e.Code + ": " + e.Message}
}

func (m adminMethods) answer(w http.ResponseWriter, call *adminCall) error {
	method := call.Method
	if method == http.MethodHead { // the server leaves the body out
		method = http.MethodGet
	}
	answer := m[method]
	if answer == nil {
		return rest.ErrMethod
	}
	if call.Method == http.MethodPost || call.Method == http.MethodPut {
		if mediaType, _, _ := mime.ParseMediaType(call.Header.Get("Content-Type")); mediaType != "application/json" {
			return rest.ErrNotJSON
		}
	}
	release, err := call.resolve()
	if err != nil {
		return err
	}
	defer release()
	return answer(w, call)
}

var errNotConfigured = &rest.Error{Status: http.StatusNotFound, Code: "not_configured", Message: "the running configuration has no upstream_auth"}

// resolve finds what the path names. Without an error the app is in use until it is
// released.
//
// It is the app of the configuration that runs now, not the one that the admin
// endpoint was made for: if loading a configuration fails, the endpoint is already
// that one's.
func (c *adminCall) resolve() (release func(), err error) {
	app, err := caddy.ActiveContext().AppIfConfigured(config.AppName)
	if err != nil {
		return nil, errNotConfigured
	}
	c.app = app.(App)
	if name := c.PathValue("provider"); name != "" {
		provider := c.app.Provider(name)
		if provider == nil {
			return nil, &rest.Error{Status: http.StatusNotFound, Code: "provider_unknown", Message: "no provider of that name is configured"}
		}
		c.collection = &rest.Collection{Service: c.app.Service(), Provider: provider, By: "admin", Operator: true, Logger: c.app.Logger()}
	}
	if name := c.PathValue("tenant"); name != "" {
		if c.tenant, err = credential.ParseTenant(name); err != nil {
			return nil, &rest.Error{Status: http.StatusBadRequest, Code: "tenant_invalid", Message: err.Error()}
		}
	}
	release, ok := c.app.Use()
	if !ok {
		return nil, rest.ErrConfigurationGone
	}
	return release, nil
}

// onTenant answers as both APIs do.
func onTenant(verb func(*rest.Collection, http.ResponseWriter, *http.Request, credential.Tenant) error) func(http.ResponseWriter, *adminCall) error {
	return func(w http.ResponseWriter, c *adminCall) error {
		return verb(c.collection, w, c.Request, c.tenant)
	}
}

func (c *adminCall) logger() *slog.Logger {
	if c.app == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.app.Logger()
}

var _ caddy.AdminRouter = adminAPI{}
