// Package failure answers requests that failed before the upstream was asked.
package failure

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Error is what a request failed of before the upstream was asked. Handlers of
// errors find it with [errors.As] in the [caddyhttp.HandlerError].
type Error struct {
	// Code is the value of the response header Upstream-Auth-Error.
	Code string

	// Err is the cause. It holds neither a secret nor a tenant's name.
	Err error
}

func (e *Error) Error() string { return e.Code + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// With names the error in the response header and returns it with its status for
// Caddy's error handling. If no handle_errors is there to write a body, it writes one.
// err holds neither a secret nor a tenant's name.
func With(w http.ResponseWriter, r *http.Request, status int, code proxy.Code, err error) error {
	header := w.Header()
	if spent, ok := errors.AsType[*budget.Error](err); ok {
		status = spent.Status()
	}
	header.Set(proxy.HeaderError, string(code))
	header.Set("Cache-Control", "no-store")
	switch code {
	case proxy.CodeStoreUnavailable, proxy.CodeTooManyRequests, proxy.CodeRefreshFailed:
		header.Set("Retry-After", proxy.RetryAfter)
	case proxy.CodeRateLimited:
		if tooSoon, ok := errors.AsType[*upstream.TooSoonError](err); ok {
			header.Set("Retry-After", tooSoon.RetryAfter())
		}
	case proxy.CodeMethodNotAllowed:
		header.Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
	}
	failure := caddyhttp.Error(status, &Error{Code: string(code), Err: err})
	if !isHandled(r, failure) {
		contentType, body := proxy.Message(r, status, code)
		header.Set("Content-Type", contentType)
		header.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
	return failure
}

// isHandled reports whether one of the server's routes for errors, as handle_errors makes
// them, is for this one.
func isHandled(r *http.Request, failure error) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return true // nobody knows
	}
	return server.Errors != nil && anyMatches(server.Errors.Routes, server.Errors.WithError(r, failure))
}

func anyMatches(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if matches, err := route.MatcherSets.AnyMatchWithError(r); err != nil || !matches {
			continue
		}
		for _, handler := range route.Handlers {
			if within, ok := handler.(*caddyhttp.Subroute); !ok || anyMatches(within.Routes, r) {
				return true
			}
		}
	}
	return false
}
