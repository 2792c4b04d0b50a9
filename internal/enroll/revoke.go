package enroll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// Revocation is how a credential is ended at its provider: one of the two.
type Revocation struct {
	// URL is the revocation endpoint (RFC 7009): https, or http on a loopback host.
	// The refresh token is revoked there, and then the access token.
	URL string

	// Request is a request that does it. An answer of 404 or 410 says that there was
	// nothing to revoke any more.
	Request *Request

	// Transport sends the requests to URL. Default: one of this package's own.
	Transport http.RoundTripper
}

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

// revoke ends cred at its provider.
func (p *Provider) revoke(ctx context.Context, cred *credential.Credential) error {
	if request := p.Revocation.Request; request != nil {
		status, err := request.send(ctx, p, cred)
		switch {
		case err != nil:
			return &RevocationError{Err: err}
		case request.succeeded(status), status == http.StatusNotFound, status == http.StatusGone:
			return nil
		}
		return &RevocationError{Status: status}
	}
	o := p.Scheme.OAuth2()
	if o == nil {
		return &RevocationError{Err: errors.New("a revocation endpoint is for oauth2 alone")}
	}
	if token, err := o.RefreshToken(cred); err == nil {
		if err := p.Revocation.revokeToken(ctx, o, cred, token, "refresh_token"); err != nil {
			return err
		}
	}
	if token, err := o.AccessToken(cred); err == nil {
		return p.Revocation.revokeToken(ctx, o, cred, token, "access_token")
	}
	return nil
}

// revokeToken makes one revocation request (RFC 7009, section 2.1). A server that
// does not revoke access tokens, or that did so with the refresh token, has nothing
// left to do.
func (r *Revocation) revokeToken(ctx context.Context, o *scheme.OAuth2, cred *credential.Credential, token, kind string) error {
	id, secret, err := o.Client(cred)
	if err != nil {
		return &RevocationError{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {kind}}
	if o.ClientAuth != scheme.ClientAuthBasic {
		form.Set("client_id", id)
	}
	if o.ClientAuth == scheme.ClientAuthPost {
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return &RevocationError{Err: errors.New("cannot make the request")}
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if o.ClientAuth == scheme.ClientAuthBasic {
		// Form-encoded first, as RFC 6749 section 2.3.1 has it.
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	res, err := roundTrip(r.Transport, req)
	if err != nil {
		return &RevocationError{Err: err}
	}
	body := readSome(res)
	switch {
	case res.StatusCode == http.StatusOK, res.StatusCode == http.StatusNoContent:
		return nil
	case res.StatusCode == http.StatusBadRequest && kind == "access_token" &&
		gjson.GetBytes(body, "error").String() == "unsupported_token_type": // RFC 7009, section 2.2.1
		return nil
	}
	return &RevocationError{Status: res.StatusCode}
}
