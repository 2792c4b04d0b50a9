package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// noCredential is [rest.Tenant] for a tenant without a credential.
type noCredential struct {
	ID          string    `json:"id"`
	Provider    string    `json:"provider"`
	Status      string    `json:"status"`
	Credentials *struct{} `json:"credentials"`
}

// answer does what an authorized request asks for.
func (a *API) answer(w http.ResponseWriter, r *http.Request, c *call) error {
	err := a.dispatch(w, r, c)
	if err == nil {
		return nil
	}
	if errors.Is(err, rest.ErrMethod) {
		w.Header().Set("Allow", c.methods())
	}
	return a.answerError(w, r, err)
}

func (a *API) dispatch(w http.ResponseWriter, r *http.Request, c *call) error {
	switch {
	case c.action == "connect-link" && r.Method == http.MethodPost:
		return a.collection.Connect(w, r, c.name)
	case c.action == "connect-link" && r.Method == http.MethodDelete:
		return a.collection.WithdrawLinks(w, r, c.name)
	case c.action == "test" && r.Method == http.MethodPost:
		return a.collection.Test(w, r, c.name)
	case c.action != "":
		return rest.ErrMethod
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return a.answerGet(w, r, c)
	case r.Method == http.MethodPatch, r.Method == http.MethodPut && c.tenant != "":
		return a.answerPut(w, r, c)
	case r.Method == http.MethodDelete && c.tenant != "":
		return a.collection.Delete(w, r, c.name)
	}
	return rest.ErrMethod
}

func (a *API) answerGet(w http.ResponseWriter, r *http.Request, c *call) error {
	err := a.collection.Get(w, r, c.name)
	if errors.Is(err, credential.ErrNotFound) && c.tenant == "" {
		// Whoever has a token exists, whether they have brought a credential or not.
		return rest.WriteJSON(w, http.StatusOK, noCredential{ID: string(c.name), Provider: a.Provider, Status: lifecycle.StatusMissing})
	}
	return err
}

func (a *API) answerPut(w http.ResponseWriter, r *http.Request, c *call) error {
	if err := rest.CheckJSON(r); err != nil {
		return err
	}
	body, err := rest.ReadBody(r)
	if err != nil {
		return err
	}
	leave, err := c.account.Alone(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	change, err := parseChange(body, c.tenant != "")
	if err != nil {
		return err
	}
	if r.Method == http.MethodPut && change.Document == nil {
		return rest.BadRequest("credentials are missing")
	}
	return a.collection.Put(w, r, c.name, change)
}

// parseChange reads what a tenant, or an operator, wants to be changed.
func parseChange(text []byte, operator bool) (change lifecycle.Change, err error) {
	var body struct {
		Credentials json.RawMessage `json:"credentials"`
		Disabled    *bool           `json:"disabled"`
	}
	if err := rest.ParseJSON(text, &body); err != nil {
		return change, err
	}
	if body.Disabled != nil && !operator {
		return change, rest.Forbidden("disabled is for operators")
	}
	if body.Credentials == nil && body.Disabled == nil {
		return change, rest.BadRequest("credentials are missing")
	}
	change.Document, change.Disabled = body.Credentials, body.Disabled
	return change, nil
}

// answerError writes an error. Those that are nobody's fault are logged.
func (a *API) answerError(w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, context.Canceled) {
		return caddyhttp.Error(proxy.StatusClientClosedRequest, err)
	}
	e := rest.ErrorOf(r, err, false)
	if e.Status >= 500 {
		a.logger.Warn("credentials API", "provider", a.Provider, "code", e.Code, "error", err)
	}
	if e.Status == http.StatusUnauthorized {
		challenge := "Bearer"
		if e.Code != "token_missing" {
			challenge = `Bearer error="invalid_token"` // RFC 6750, section 3.1
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if retryAfter := e.RetryAfter(err); retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	return rest.WriteJSON(w, e.Status, e.Body())
}
