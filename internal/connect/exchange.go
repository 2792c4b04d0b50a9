package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// tokenResponse is a token endpoint's successful answer.
type tokenResponse struct {
	clientID string
	response []byte    // a JSON object
	at       time.Time // when the endpoint was asked: lifetimes start no later
}

// exchange spends the code for tokens (RFC 6749 section 4.1.3). Errors:
// [ErrServerUnavailable], [ErrServerRefused].
func (f *Flow) exchange(ctx context.Context, s *state, known *credential.Credential, code string) (*tokenResponse, error) {
	g, err := f.spendCode(ctx, s, known, code)
	if wrong, ok := errors.AsType[*tokenrequest.Error](err); ok && wrong.Code == "invalid_client" && f.config.OAuth2.TakeOtherSecret() {
		return f.spendCode(ctx, s, known, code) // who asks is looked at before the code is
	}
	return g, err
}

// spendCode makes the request.
func (f *Flow) spendCode(ctx context.Context, s *state, known *credential.Credential, code string) (*tokenResponse, error) {
	p, err := f.config.OAuth2.Parameters(ctx, known)
	if err != nil {
		return nil, err
	}
	p.Params = make(url.Values)
	if err := f.config.OAuth2.AddTargets(p.Params, known); err != nil {
		return nil, err
	}
	if err := f.fillIn(p.Params, f.config.TokenParams, known); err != nil {
		return nil, err
	}
	verifier := s.Verifier
	if f.config.OAuth2.WithoutPKCE {
		verifier = ""
	}
	request, err := tokenrequest.CodeRequest(p, code, s.RedirectURI, verifier)
	if err != nil {
		return nil, err
	}
	limits := tokenrequest.Limits{Start: time.Now(), Send: exchangeDeadline, Listen: exchangeDeadline}
	response, err := tokenrequest.Do(ctx, f.config.Dialer, request, f.config.OAuth2.TLS, limits)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServerUnavailable, err)
	}
	granted, complete, tokenError := response.TokenResponse()
	switch {
	case tokenError != nil && refuses(tokenError):
		return nil, fmt.Errorf("%w: %w", ErrServerRefused, tokenError)
	case tokenError != nil:
		return nil, fmt.Errorf("%w: %w", ErrServerUnavailable, tokenError)
	case !complete || object(granted) == nil:
		return nil, fmt.Errorf("%w: the token endpoint answered %d with a part of a token response", ErrServerUnavailable, response.Status)
	}
	return &tokenResponse{clientID: p.ClientID, response: object(granted), at: response.At}, nil
}

// refuses reports whether an answer is about this request, and not about the server.
func refuses(e *tokenrequest.Error) bool {
	if e.Status < 300 {
		return e.Code != ""
	}
	return e.Status < 500 && e.Status != http.StatusTooManyRequests
}

// object returns data if it is one JSON object within the limits of a credential,
// which it becomes a part of, else nil.
func object(data []byte) []byte {
	c, err := credential.New(credential.Document{Data: data})
	if err != nil {
		return nil
	}
	return c.JSON()
}
