package caddymodule

import (
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
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
//   - `POST /upstream_auth/P/tenants/T/refresh`, `…/revoke` and `…/connect-link`
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
	app      *App
	provider *upstream.Provider // nil: the path names none
	tenant   credential.Tenant  // empty: the same
}

// adminMethods are what can be done with a path.
type adminMethods map[string]func(http.ResponseWriter, *adminCall) error

// Routes implements [caddy.AdminRouter].
func (adminAPI) Routes() []caddy.AdminRoute {
	const tenants = "/upstream_auth/{provider}/tenants"
	var routes []caddy.AdminRoute
	for pattern, methods := range map[string]adminMethods{
		"/upstream_auth/doctor": {http.MethodGet: adminDoctor},
		tenants:                 {http.MethodGet: adminList},
		tenants + "/{tenant}": {
			http.MethodGet: adminGet, http.MethodPut: adminPut, http.MethodDelete: adminDelete,
		},
		tenants + "/{tenant}/explain":      {http.MethodGet: adminExplain},
		tenants + "/{tenant}/refresh":      {http.MethodPost: adminRefresh},
		tenants + "/{tenant}/revoke":       {http.MethodPost: adminRevoke},
		tenants + "/{tenant}/connect-link": {http.MethodPost: adminConnectLink},
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
	e := answerTo(r, err)
	if e.status >= 500 {
		call.logger().Warn("administration API", "provider", r.PathValue("provider"), "code", e.code, "error", err)
	}
	switch e.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", strings.Join(slices.Sorted(maps.Keys(m)), ", "))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", retryAfter)
	}
	header.Set(proxy.HeaderError, e.code)
	return caddy.APIError{HTTPStatus: e.status, Err: e, Message: e.code + ": " + e.message}
}

func (m adminMethods) answer(w http.ResponseWriter, call *adminCall) error {
	answer := m[call.Method]
	if answer == nil {
		return errMethod
	}
	if call.Method == http.MethodPost || call.Method == http.MethodPut {
		if mediaType, _, _ := mime.ParseMediaType(call.Header.Get("Content-Type")); mediaType != "application/json" {
			return errNotJSON
		}
	}
	if err := call.resolve(); err != nil {
		return err
	}
	defer call.app.use.release()
	return answer(w, call)
}

var errNotConfigured = &apiError{http.StatusNotFound, "not_configured", "the running configuration has no upstream_auth"}

// resolve finds what the path names. Without an error the app is in use until it is
// released.
//
// It is the app of the configuration that runs now, not the one that the admin
// endpoint was made for: if loading a configuration fails, the endpoint is already
// that one's.
func (c *adminCall) resolve() error {
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		return errNotConfigured
	}
	c.app = app.(*App)
	if name := c.PathValue("provider"); name != "" {
		if c.provider = c.app.providers[name]; c.provider == nil {
			return &apiError{http.StatusNotFound, "provider_unknown", "no provider of that name is configured"}
		}
	}
	if name := c.PathValue("tenant"); name != "" {
		if c.tenant, err = credential.ParseTenant(name); err != nil {
			return &apiError{http.StatusBadRequest, "tenant_invalid", err.Error()}
		}
	}
	if !c.app.use.acquire() {
		return &apiError{http.StatusServiceUnavailable, "store_unavailable", errConfigurationGone.Error()}
	}
	return nil
}

func (c *adminCall) logger() *slog.Logger {
	if c.app == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.app.logger
}

var _ caddy.AdminRouter = adminAPI{}
