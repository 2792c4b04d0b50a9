package bearer

import (
	"context"
	"slices"

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
	if c.MaxLifetime == 0 {
		c.MaxLifetime = DefaultMaxLifetime
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
	payload, err := v.payload(ctx, authorization)
	if err != nil {
		return Caller{}, err
	}
	return v.caller(payload)
}

// Tenants are those that a token names.
type Tenants struct {
	// Names are as they stand there, and need not be tenants' names.
	Names []string

	// Operator says that they are all tenants.
	Operator bool
}

// Hold reports whether tenant is one of them.
func (t Tenants) Hold(tenant credential.Tenant) bool {
	return t.Operator || slices.Contains(t.Names, string(tenant))
}

// VerifyTenants is [Verifier.Verify] for tokens whose claim may be an array, and returns
// the tenants that it names.
func (v *Verifier) VerifyTenants(ctx context.Context, authorization string) (Tenants, error) {
	payload, err := v.payload(ctx, authorization)
	if err != nil {
		return Tenants{}, err
	}
	return v.tenants(payload)
}

// payload returns what a token says, if its signature is good.
func (v *Verifier) payload(ctx context.Context, authorization string) ([]byte, error) {
	token, err := parseToken(authorization, v.algorithms)
	if err != nil {
		return nil, err
	}
	return v.source.verify(ctx, token)
}
