package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Error is an error as callers see it. Its message has neither a secret nor a tenant's
// name in it.
type Error struct {
	Status  int // of HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// The errors of requests that name nothing to do.
var (
	ErrMethod = &Error{http.StatusMethodNotAllowed, "method_not_allowed", "the method is not one that this path takes"}

	// ErrConfigurationGone is for a request that comes in after the last use of its
	// configuration.
	ErrConfigurationGone = &Error{http.StatusServiceUnavailable, "store_unavailable", "the configuration of this request is gone"}

	// ErrStoreSilent is what a store that does not answer means to who only asks.
	ErrStoreSilent = &Error{http.StatusServiceUnavailable, "store_unavailable", "the store does not answer"}

	errNotRefreshable = &Error{http.StatusConflict, "not_refreshable", "the provider has no oauth2: its credentials are not refreshed"}
	errTooLarge       = &Error{http.StatusRequestEntityTooLarge, "request_too_large", fmt.Sprintf("the body is larger than %d bytes", MaxRequestBody)}
)

// ErrNotJSON is for a body of another type.
var ErrNotJSON = &Error{http.StatusUnsupportedMediaType, "request_invalid", "Content-Type is not application/json"}

// BadRequest is for a request that cannot be understood.
func BadRequest(message string) *Error {
	return &Error{http.StatusBadRequest, "request_invalid", message}
}

// Forbidden is for what its caller may not do.
func Forbidden(message string) *Error {
	return &Error{http.StatusForbidden, "access_denied", message}
}

// ErrorBody is its JSON. Type and key are what the JavaScript SDKs make their own
// errors of.
type ErrorBody struct {
	Type    string `json:"type"`
	Key     string `json:"key,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// sdkKeys are the SDKs' words for what a status means.
var sdkKeys = map[int]string{
	http.StatusUnauthorized: "not_authenticated",
	http.StatusForbidden:    "access_denied",
	http.StatusNotFound:     "not_found",
}

// Body is the error in JSON.
func (e *Error) Body() ErrorBody {
	body := ErrorBody{Type: "bad_request", Key: sdkKeys[e.Status], Code: e.Code, Message: e.Message}
	switch {
	case e.Status == http.StatusConflict, e.Status == http.StatusPreconditionFailed:
		body.Type = "concurrency"
	case e.Status >= 500:
		body.Type = "internal"
	}
	return body
}

// asError says what an error means to a caller.
func asError(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	answer := func(status int, code string) *Error { return &Error{status, code, err.Error()} }
	test, isTest := errors.AsType[*upstream.TestError](err)
	quota, isQuota := errors.AsType[*links.QuotaError](err)
	spent, isSpent := errors.AsType[*budget.Error](err)
	_, isTooSoon := errors.AsType[*upstream.TooSoonError](err)
	forbidden, isForbidden := errors.AsType[*credential.PermissionError](err)
	switch {
	case errors.Is(err, bearer.ErrMissing):
		return answer(http.StatusUnauthorized, "token_missing")
	case errors.Is(err, bearer.ErrExpired):
		return answer(http.StatusUnauthorized, "token_expired")
	case errors.Is(err, bearer.ErrInvalid):
		return answer(http.StatusUnauthorized, "token_invalid")
	case errors.Is(err, bearer.ErrUnavailable):
		return &Error{http.StatusServiceUnavailable, "token_keys_unavailable", "the keys that tokens are verified by cannot be had"}
	case isSpent:
		return answer(spent.Status(), "too_many_requests")
	case isTest && test.Rejected():
		return answer(http.StatusUnprocessableEntity, "credential_rejected")
	case isTest:
		return answer(http.StatusBadGateway, "credential_untested")
	case errors.Is(err, credential.ErrInvalid):
		return answer(http.StatusUnprocessableEntity, "credential_invalid")
	case errors.Is(err, lifecycle.ErrPrecondition):
		return answer(http.StatusPreconditionFailed, "precondition_failed")
	case errors.Is(err, credential.ErrNotFound):
		return &Error{http.StatusNotFound, "tenant_unknown", "there is no credential for the tenant"}
	case errors.Is(err, credential.ErrConflict):
		return answer(http.StatusConflict, "conflict")
	case errors.Is(err, credential.ErrReadOnly):
		return answer(http.StatusConflict, "store_read_only")
	case isQuota:
		return &Error{http.StatusTooManyRequests, "too_many_links", quota.Error()}
	case isForbidden:
		return &Error{http.StatusServiceUnavailable, "store_unavailable", forbidden.Error()}
	case errors.Is(err, credential.ErrUnavailable):
		return &Error{http.StatusServiceUnavailable, "store_unavailable", "the store does not answer; nobody knows whether a change was made"}
	case errors.Is(err, upstream.ErrNoRevocation):
		return answer(http.StatusConflict, "no_revocation")
	case isTooSoon:
		return answer(http.StatusTooManyRequests, "rate_limited")
	case errors.Is(err, renew.ErrReauthorizationRequired):
		return answer(http.StatusConflict, "reauthorization_required")
	case errors.Is(err, renew.ErrFailed):
		return answer(http.StatusBadGateway, "refresh_failed")
	}
	if _, ok := errors.AsType[*upstream.RevocationError](err); ok {
		return answer(http.StatusBadGateway, "revocation_failed")
	}
	return &Error{http.StatusInternalServerError, "internal", "internal error"}
}

// ErrorOf says what the error of a request means to who made it. What of a store's policy
// forbids it is for operators alone.
func ErrorOf(r *http.Request, err error, operator bool) *Error {
	forbidden := errors.Is(err, credential.ErrForbidden)
	if errors.Is(err, credential.ErrUnavailable) && (forbidden && !operator || isRead(r) && !forbidden) {
		return ErrStoreSilent
	}
	return asError(err)
}

// RetryAfter is the header Retry-After of the answer to an error, empty if nobody knows.
func (e *Error) RetryAfter(err error) string {
	if quota, ok := errors.AsType[*links.QuotaError](err); ok {
		return quota.Seconds()
	}
	if tooSoon, ok := errors.AsType[*upstream.TooSoonError](err); ok {
		return tooSoon.RetryAfter()
	}
	if e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests {
		return proxy.RetryAfter
	}
	return ""
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// WriteJSON writes an answer.
func WriteJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return errors.New("writing the answer")
	}
	return nil
}
