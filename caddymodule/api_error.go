package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// apiError is an error as callers of the credentials API and of the administration
// API see it. Its message has neither a secret nor a tenant's name in it.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.message }

// errorBody is its JSON. Type and key are what the JavaScript SDKs make their own
// errors of.
type errorBody struct {
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

func (e *apiError) body() errorBody {
	body := errorBody{Type: "bad_request", Key: sdkKeys[e.status], Code: e.code, Message: e.message}
	switch {
	case e.status == http.StatusConflict, e.status == http.StatusPreconditionFailed:
		body.Type = "concurrency"
	case e.status >= 500:
		body.Type = "internal"
	}
	return body
}

// asAPIError says what an error means to a caller.
func asAPIError(err error) *apiError {
	if own, ok := errors.AsType[*apiError](err); ok {
		return own
	}
	answer := func(status int, code string) *apiError { return &apiError{status, code, err.Error()} }
	test, isTest := errors.AsType[*upstream.TestError](err)
	forbidden, isForbidden := errors.AsType[*credential.PermissionError](err)
	switch {
	case errors.Is(err, bearer.ErrMissing):
		return answer(http.StatusUnauthorized, "token_missing")
	case errors.Is(err, bearer.ErrExpired):
		return answer(http.StatusUnauthorized, "token_expired")
	case errors.Is(err, bearer.ErrInvalid):
		return answer(http.StatusUnauthorized, "token_invalid")
	case errors.Is(err, bearer.ErrUnavailable):
		return &apiError{http.StatusServiceUnavailable, "token_keys_unavailable", "the keys that tokens are verified by cannot be had"}
	case isTest && test.Rejected():
		return answer(http.StatusUnprocessableEntity, "credential_rejected")
	case isTest:
		return answer(http.StatusBadGateway, "credential_untested")
	case errors.Is(err, credential.ErrInvalid):
		return answer(http.StatusUnprocessableEntity, "credential_invalid")
	case errors.Is(err, lifecycle.ErrPrecondition):
		return answer(http.StatusPreconditionFailed, "precondition_failed")
	case errors.Is(err, credential.ErrNotFound):
		return &apiError{http.StatusNotFound, "tenant_unknown", "there is no credential for the tenant"}
	case errors.Is(err, credential.ErrConflict):
		return answer(http.StatusConflict, "conflict")
	case errors.Is(err, credential.ErrReadOnly):
		return answer(http.StatusConflict, "store_read_only")
	case isForbidden:
		return &apiError{http.StatusServiceUnavailable, "store_unavailable", forbidden.Error()}
	case errors.Is(err, credential.ErrUnavailable):
		return &apiError{http.StatusServiceUnavailable, "store_unavailable", "the store does not answer; nobody knows whether a change was made"}
	case errors.Is(err, lifecycle.ErrNoRevocation):
		return answer(http.StatusConflict, "no_revocation")
	case errors.Is(err, renew.ErrReauthorizationRequired):
		return answer(http.StatusConflict, "reauthorization_required")
	case errors.Is(err, renew.ErrFailed):
		return answer(http.StatusBadGateway, "refresh_failed")
	}
	if _, ok := errors.AsType[*upstream.RevocationError](err); ok {
		return answer(http.StatusBadGateway, "revocation_failed")
	}
	return &apiError{http.StatusInternalServerError, "internal", "internal error"}
}

// answerError writes an error. Those that are nobody's fault are logged.
func (a *API) answerError(w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, context.Canceled) {
		return caddyhttp.Error(statusClientClosedRequest, err)
	}
	e := answerTo(r, err)
	if e.status >= 500 {
		a.logger.Warn("credentials API", "provider", a.Provider, "code", e.code, "error", err)
	}
	switch e.status {
	case http.StatusUnauthorized:
		challenge := "Bearer"
		if e.code != "token_missing" {
			challenge = `Bearer error="invalid_token"` // RFC 6750, section 3.1
		}
		w.Header().Set("WWW-Authenticate", challenge)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	return writeJSON(w, e.status, e.body())
}

// answerTo says what the error of a request means to who made it.
func answerTo(r *http.Request, err error) *apiError {
	if isRead(r) && errors.Is(err, credential.ErrUnavailable) && !errors.Is(err, credential.ErrForbidden) {
		return errStoreSilent
	}
	return asAPIError(err)
}

// errStoreSilent is what a store that does not answer means to who only asks.
var errStoreSilent = &apiError{http.StatusServiceUnavailable, "store_unavailable", "the store does not answer"}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// writeJSON writes an answer.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, errors.New("writing the answer"))
	}
	return nil
}
