package connect

import (
	"context"

	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// Endpoints are where an authorization server is asked for what, as its metadata say
// (RFC 8414 section 2). What they do not name is empty.
type Endpoints struct {
	Authorization, Token, Userinfo, Revocation string

	// ClientAuthMethods are the ways of client authentication that the token endpoint
	// takes, by their registered names. Metadata that do not say mean
	// client_secret_basic.
	ClientAuthMethods []string
}

// Discover reads the metadata of an issuer (OpenID Connect Discovery 1.0 section 4,
// RFC 8414 section 3) of a provider's authorization server. The error is an
// [ErrServerUnavailable] that says what is wrong with them: that they name another issuer,
// say.
func Discover(ctx context.Context, issuer string, o *oauth2.Renewer) (*Endpoints, error) {
	m, err := fetchMetadata(ctx, newClient(nil, o.TLS), issuer)
	if err == nil && !o.WithoutPKCE {
		err = m.checkPKCE()
	}
	if err != nil {
		return nil, err
	}
	e := &Endpoints{
		Authorization: m.AuthorizationEndpoint, Token: m.TokenEndpoint,
		Userinfo: m.UserinfoEndpoint, Revocation: m.RevocationEndpoint,
		ClientAuthMethods: m.ClientAuthMethods,
	}
	if e.ClientAuthMethods == nil {
		e.ClientAuthMethods = []string{"client_secret_basic"}
	}
	return e, nil
}
