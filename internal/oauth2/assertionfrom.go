package oauth2

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// AssertionError says that the authorization server gave no assertion from which it is to
// be obtained.
type AssertionError struct {
	from *Renewer
	err  error
}

// Error implements error. It holds no secret.
func (e *AssertionError) Error() string { return "assertion_from: " + e.err.Error() }

// Unwrap returns the cause: a [*tokenrequest.Error] if it is the server's.
func (e *AssertionError) Unwrap() error { return e.err }

// Server returns which of r and those that its assertion is obtained from an error is about.
func (r *Renewer) Server(err error) *Renewer {
	for {
		e, ok := errors.AsType[*AssertionError](err)
		if !ok {
			return r
		}
		r, err = e.from, e.err
	}
}

// Chain is r and those that its assertion is obtained from.
func (r *Renewer) Chain() (all []*Renewer) {
	for ; r != nil; r = r.from {
		all = append(all, r)
	}
	return all
}

// assertion returns the JWT of the grant: one that is made, or had of another authorization
// server (draft-ietf-oauth-identity-chaining).
func (r *Renewer) assertion(ctx context.Context, c *credential.Credential) (token string, err error) {
	if r.from == nil {
		if token, err = mint(ctx, r.grant, c); err != nil {
			err = fmt.Errorf("assertion: %w", err)
		}
		return token, err
	}
	err = r.before.Take(ctx, func(ctx context.Context, send tokenrequest.Send) error {
		token, err = r.from.obtain(ctx, c, send)
		if wrong, ok := errors.AsType[*tokenrequest.Error](err); ok && wrong.Code == "invalid_client" && r.from.TakeOtherSecret() {
			token, err = r.from.obtain(ctx, c, send)
		}
		return err
	})
	if err != nil {
		return "", &AssertionError{r.from, err}
	}
	return token, nil
}

// obtain returns an access token that is not kept.
func (r *Renewer) obtain(ctx context.Context, c *credential.Credential, send tokenrequest.Send) (string, error) {
	req, config, err := r.request(ctx, c)
	if err != nil {
		return "", err
	}
	res, err := send(req, config)
	if err != nil {
		return "", err
	}
	object, _, wrong := res.TokenResponse()
	if wrong != nil {
		return "", wrong
	}
	answered := r.readTokens(object, res.At)
	if answered.wrong != "" {
		return "", &tokenrequest.Error{Status: res.Status, Reason: answered.wrong}
	}
	return gjson.Parse(answered.accessToken).String(), nil
}
