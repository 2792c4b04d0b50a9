package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// Revocation is how a credential is ended at its provider: one of the two.
type Revocation struct {
	// URL makes the revocation endpoint (RFC 7009) of a credential: https, or http on a
	// loopback host. The refresh token is revoked there, and then the access token. Without
	// it, and without a Request, it is where the issuer says.
	URL *template.Template

	// Request is a request that does it. An answer of 404 or 410 says that there was
	// nothing to revoke any more.
	Request *Request
}

// ErrNoRevocation says that a provider has no way to revoke.
var ErrNoRevocation = errors.New("the provider has no revocation configured")

// RevocationError says that a credential could not be revoked.
type RevocationError struct {
	// Status is the provider's answer, 0 if there was none.
	Status int

	// Err is the cause if there was no answer. It holds no secret.
	Err error
}

func (e *RevocationError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("the credential could not be revoked: %v", e.Err)
	}
	return fmt.Sprintf("the provider answered %d to the revocation of the credential", e.Status)
}

// Unwrap returns the cause.
func (e *RevocationError) Unwrap() error { return e.Err }

// Revoke ends cred at its provider, which has a Revocation. The error is a
// [RevocationError], or an [ErrNoRevocation] if the issuer does not say where.
func (p *Provider) Revoke(ctx context.Context, cred *credential.Credential) error {
	if request := p.Revocation.Request; request != nil {
		status, err := request.Send(ctx, p, cred)
		switch {
		case err != nil:
			return &RevocationError{Err: err}
		case request.succeeded(status), status == http.StatusNotFound, status == http.StatusGone:
			return nil
		}
		return &RevocationError{Status: status}
	}
	o := p.OAuth2()
	if o == nil {
		return &RevocationError{Err: errors.New("a revocation endpoint is for oauth2 alone")}
	}
	if token, err := o.Spends(cred); err == nil && token != "" {
		if err := p.Revocation.revokeToken(ctx, o, cred, token, "refresh_token"); err != nil {
			return err
		}
	}
	if token, err := o.Token(cred); err == nil {
		return p.Revocation.revokeToken(ctx, o, cred, token, "access_token")
	}
	return nil
}

// revokeToken makes one revocation request (RFC 7009, section 2.1). A server that
// does not revoke access tokens, or that did so with the refresh token, has nothing
// left to do.
func (r *Revocation) revokeToken(ctx context.Context, o *oauth2.Renewer, cred *credential.Credential, token, kind string) error {
	p, err := o.Parameters(ctx, cred)
	if err != nil {
		return &RevocationError{Err: err}
	}
	if r.URL != nil {
		p.URL, err = o.AddressOf(r.URL, cred)
	} else {
		p.URL, err = o.RevocationEndpoint(ctx)
	}
	switch {
	case err != nil:
		return &RevocationError{Err: fmt.Errorf("revocation_url: %w", err)}
	case p.URL == "":
		return ErrNoRevocation
	}
	req, err := tokenrequest.RevocationRequest(p, token, kind)
	if err != nil {
		return &RevocationError{Err: err}
	}
	req.Header.Set("User-Agent", userAgent)
	limits := tokenrequest.Limits{Start: time.Now(), Send: DefaultTimeout, Listen: DefaultTimeout}
	res, err := tokenrequest.Do(ctx, new(tokenrequest.Client), req, o.TLS, limits)
	if e, ok := errors.AsType[*tokenrequest.Error](err); ok {
		err = errors.New(e.Reason) // its text speaks of a token endpoint
	}
	if err != nil {
		return &RevocationError{Err: err}
	}
	switch {
	case res.Status == http.StatusOK, res.Status == http.StatusNoContent:
		return nil
	case res.Status == http.StatusBadRequest && kind == "access_token":
		if _, _, e := res.TokenResponse(); e != nil && e.Code == "unsupported_token_type" { // RFC 7009, section 2.2.1
			return nil
		}
	}
	return &RevocationError{Status: res.Status}
}
