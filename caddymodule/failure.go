package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// statusClientClosedRequest is what Caddy logs for a client that went away.
const statusClientClosedRequest = 499

// statuses are the status codes of the errors that are known before the
// upstream is asked.
var statuses = map[proxy.Code]int{
	proxy.CodeTenantMissing:     http.StatusBadRequest,
	proxy.CodeTenantInvalid:     http.StatusBadRequest,
	proxy.CodeTenantUnknown:     http.StatusForbidden,
	proxy.CodeCredentialInvalid: http.StatusBadGateway,
	proxy.CodeStoreUnavailable:  http.StatusServiceUnavailable,
	proxy.CodeMethodNotAllowed:  http.StatusMethodNotAllowed,
}

// fail names the error in the response header and returns it with its status for
// Caddy's error handling. err holds neither a secret nor a tenant's name.
func fail(w http.ResponseWriter, code proxy.Code, err error) error {
	header := w.Header()
	header.Set(proxy.HeaderError, string(code))
	if code == proxy.CodeStoreUnavailable {
		header.Set("Retry-After", proxy.RetryAfter)
	}
	return caddyhttp.Error(statuses[code], &Error{Code: string(code), Err: err})
}

// failStore is fail for what came of looking for the credential.
func failStore(w http.ResponseWriter, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return caddyhttp.Error(statusClientClosedRequest, err)
	case errors.Is(err, credential.ErrNotFound):
		return fail(w, proxy.CodeTenantUnknown, err)
	case errors.Is(err, credential.ErrInvalid):
		return fail(w, proxy.CodeCredentialInvalid, err)
	default:
		return fail(w, proxy.CodeStoreUnavailable, err)
	}
}

// tenantCode is the code of an error of a tenant's name.
func tenantCode(err error) proxy.Code {
	if errors.Is(err, credential.ErrTenantMissing) {
		return proxy.CodeTenantMissing
	}
	return proxy.CodeTenantInvalid
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
