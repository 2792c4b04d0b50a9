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
// Caddy's error handling. If no handle_errors is there to write a body, it writes one.
// err holds neither a secret nor a tenant's name.
func fail(w http.ResponseWriter, r *http.Request, code proxy.Code, err error) error {
	header, status := w.Header(), statuses[code]
	header.Set(proxy.HeaderError, string(code))
	if code == proxy.CodeStoreUnavailable {
		header.Set("Retry-After", proxy.RetryAfter)
	}
	if server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && (server.Errors == nil || len(server.Errors.Routes) == 0) {
		contentType, body := proxy.Message(r, status, code)
		header.Set("Content-Type", contentType)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
	return caddyhttp.Error(status, &Error{Code: string(code), Err: err})
}

// failStore is fail for what came of looking for the credential.
func failStore(w http.ResponseWriter, r *http.Request, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return caddyhttp.Error(statusClientClosedRequest, err)
	case errors.Is(err, credential.ErrNotFound):
		return fail(w, r, proxy.CodeTenantUnknown, err)
	case errors.Is(err, credential.ErrInvalid):
		return fail(w, r, proxy.CodeCredentialInvalid, err)
	default:
		return fail(w, r, proxy.CodeStoreUnavailable, err)
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
