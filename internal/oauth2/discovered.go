package oauth2

import (
	"context"
	"errors"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
)

// registered are the names of the ways of client authentication in metadata (RFC 7591
// section 2), the better ones first.
var registered = []struct {
	name string
	auth ClientAuth
}{
	{"private_key_jwt", ClientAuthPrivateKeyJWT},
	{"tls_client_auth", ClientAuthTLS},
	{"client_secret_basic", ClientAuthBasic},
	{"client_secret_post", ClientAuthPost},
	{"none", ClientAuthNone},
}

// Registered returns the registered name of a way of client authentication.
func (a ClientAuth) Registered() string {
	for _, known := range registered {
		if known.auth == a {
			return known.name
		}
	}
	return ""
}

// discovered returns what the issuer says of the token endpoint: where it is, and how a
// client with a secret authenticates there, unless that is configured.
func (r *Renewer) discovered(ctx context.Context) (address string, by ClientAuth, err error) {
	m, err := r.issuer.Get(ctx)
	if err != nil {
		return "", "", err
	}
	if address, err = r.discoveredAddress(m.TokenEndpoint); err != nil || r.ClientAuth != "" {
		return address, r.ClientAuth, err
	}
	for _, by := range []ClientAuth{ClientAuthBasic, ClientAuthPost} {
		if slices.Contains(m.ClientAuthMethods(), by.Registered()) {
			return address, by, nil
		}
	}
	return "", "", &discovery.Error{Reason: "they name no way to authenticate a client by a secret: set client_auth"}
}

// RevocationEndpoint returns where the issuer has tokens revoked (RFC 7009), "" if it does
// not say.
func (r *Renewer) RevocationEndpoint(ctx context.Context) (string, error) {
	if r.issuer == nil {
		return "", nil
	}
	m, err := r.issuer.Get(ctx)
	if err != nil || m.RevocationEndpoint == "" {
		return "", err
	}
	return r.discoveredAddress(m.RevocationEndpoint)
}

func (r *Renewer) discoveredAddress(address string) (string, error) {
	if address == "" {
		return "", &discovery.Error{Reason: "they name no token endpoint"}
	}
	u, err := credential.ParseEndpoint(address)
	if err == nil && !r.TokenHosts.AllowsURL(u) {
		err = errTokenHost
	}
	if err != nil {
		return "", errors.Join(&discovery.Error{Reason: "they name an endpoint that cannot be used"}, err)
	}
	return address, nil
}
