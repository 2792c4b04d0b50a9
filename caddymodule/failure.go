package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// statuses are the status codes of the errors that are known before the
// upstream is asked.
var statuses = map[proxy.Code]int{
	proxy.CodeTenantMissing:     http.StatusBadRequest,
	proxy.CodeTenantInvalid:     http.StatusBadRequest,
	proxy.CodeTenantUnknown:     http.StatusForbidden,
	proxy.CodeCredentialInvalid: http.StatusBadGateway,
	proxy.CodeStoreUnavailable:  http.StatusServiceUnavailable,
	proxy.CodeMethodNotAllowed:  http.StatusMethodNotAllowed,
	proxy.CodeRateLimited:       http.StatusTooManyRequests,

	// These without a token to ask the upstream with.
	proxy.CodeRefreshFailed:           http.StatusServiceUnavailable,
	proxy.CodeReauthorizationRequired: http.StatusUnauthorized,
}

// fail names the error in the response header and returns it with its status for
// Caddy's error handling. If no handle_errors is there to write a body, it writes one.
// err holds neither a secret nor a tenant's name.
func fail(w http.ResponseWriter, r *http.Request, code proxy.Code, err error) error {
	return failWith(w, r, statuses[code], code, err)
}

// failWith is fail with another status.
func failWith(w http.ResponseWriter, r *http.Request, status int, code proxy.Code, err error) error {
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

// failOpening is fail for what came of looking for the tenant and its credential.
func failOpening(w http.ResponseWriter, r *http.Request, err error) error {
	switch {
	case errors.Is(err, credential.ErrTenantMissing):
		return fail(w, r, proxy.CodeTenantMissing, err)
	case errors.Is(err, credential.ErrTenantInvalid):
		return fail(w, r, proxy.CodeTenantInvalid, err)
	case errors.Is(err, context.Canceled):
		return caddyhttp.Error(proxy.StatusClientClosedRequest, err)
	case errors.As(err, new(*budget.Error)):
		return fail(w, r, proxy.CodeTooManyRequests, err)
	case errors.As(err, new(*upstream.TooSoonError)):
		return fail(w, r, proxy.CodeRateLimited, err)
	case errors.Is(err, credential.ErrNotFound):
		return fail(w, r, proxy.CodeTenantUnknown, credential.ErrNotFound) // all alike
	case errors.Is(err, credential.ErrInvalid):
		return fail(w, r, proxy.CodeCredentialInvalid, err)
	case errors.Is(err, renew.ErrReauthorizationRequired):
		return fail(w, r, proxy.CodeReauthorizationRequired, err)
	case errors.Is(err, renew.ErrFailed) && !errors.Is(err, credential.ErrUnavailable):
		return fail(w, r, proxy.CodeRefreshFailed, err)
	default:
		return fail(w, r, proxy.CodeStoreUnavailable, err)
	}
}

// failExpired is failOpening for a token that has expired and could not be refreshed.
func failExpired(w http.ResponseWriter, r *http.Request, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, new(*budget.Error)):
		return failOpening(w, r, err)
	case errors.Is(err, renew.ErrReauthorizationRequired):
		return failWith(w, r, http.StatusUnauthorized, proxy.CodeReauthorizationRequired, err)
	default:
		return failWith(w, r, http.StatusUnauthorized, proxy.CodeRefreshFailed, err)
	}
}

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
