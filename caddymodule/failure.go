package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/failure"
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

// fail is [failure.With] the status that goes with a code.
func fail(w http.ResponseWriter, r *http.Request, code proxy.Code, err error) error {
	return failure.With(w, r, statuses[code], code, err)
}

// Error is what a request failed of before the upstream was asked. Handlers of
// errors find it with [errors.As] in the [caddyhttp.HandlerError].
type Error = failure.Error

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
		return failure.With(w, r, http.StatusUnauthorized, proxy.CodeReauthorizationRequired, err)
	default:
		return failure.With(w, r, http.StatusUnauthorized, proxy.CodeRefreshFailed, err)
	}
}
