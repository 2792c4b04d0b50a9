package bearer

import (
	"context"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Verifier verifies bearer tokens. Any number of requests can share it, and
// nothing needs to be closed.
type Verifier struct {
	config     Config // defaults applied
	algorithms []jose.SignatureAlgorithm
	source     source
}

// source has the keys.
type source interface {
	// verify returns the payload of token if a key that counts now has signed it. The
	// error is an [ErrInvalid] or [ErrUnavailable].
	verify(ctx context.Context, token *jose.JSONWebSignature) (payload []byte, err error)
}

// New makes a verifier of a configuration that is valid, and opens and dials
// nothing either.
func New(c Config) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.TenantClaim == "" {
		c.TenantClaim = DefaultTenantClaim
	}
	v := &Verifier{config: c}
	v.algorithms, _ = c.algorithms() // which are valid
	switch {
	case c.Token.SecretFile != "":
		v.source = secretFile(c.Token.SecretFile)
	case c.Token.KeySetFile != "":
		v.source = keySetFile(c.Token.KeySetFile)
	default:
		v.source = newRemote(c.Token.KeySetURL, c.Transport)
	}
	return v, nil
}

// Caller is who presented a token.
type Caller struct {
	// Tenant is whom the caller speaks for: "" for an operator whose token names
	// no tenant.
	Tenant credential.Tenant

	// Operator says that the caller may act on every tenant.
	Operator bool
}

// Verify returns who presents authorization, the value of an Authorization header
// field (RFC 6750 section 2.1). The error is an [ErrMissing], [ErrInvalid] or
// [ErrUnavailable]. It can take as long as fetching a key set, 5 seconds; ctx ends
// the waiting, not the fetching.
func (v *Verifier) Verify(ctx context.Context, authorization string) (Caller, error) {
	token, err := parseToken(authorization, v.algorithms)
	if err != nil {
		return Caller{}, err
	}
	payload, err := v.source.verify(ctx, token)
	if err != nil {
		return Caller{}, err
	}
	return v.caller(payload)
}
