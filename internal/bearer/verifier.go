package bearer

import (
	"context"
	"errors"

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

// source is where keys come from. Its errors are an [ErrUnavailable].
type source interface {
	// current returns the keys that count now.
	current(ctx context.Context) (*keySet, error)

	// after returns newer keys than old if they can be had, else old.
	after(ctx context.Context, old *keySet) *keySet
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
	algorithms, err := c.algorithms()
	if err != nil {
		return nil, err
	}
	v := &Verifier{config: c, algorithms: algorithms}
	switch {
	case c.SecretFile != "":
		v.source = secretFile(c.SecretFile)
	case c.KeySetFile != "":
		v.source = &keySetFile{path: c.KeySetFile}
	default:
		v.source = newRemote(c.KeySetURL, c.Transport)
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
	payload, err := v.payload(ctx, token)
	if err != nil {
		return Caller{}, err
	}
	return v.caller(payload)
}

// payload returns what a key that counts has signed.
func (v *Verifier) payload(ctx context.Context, t *token) ([]byte, error) {
	keys, err := v.source.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := keys.verify(t)
	// The key may have come since, and a token that names none may be of that one.
	if errors.Is(err, errUnknownKey) || err != nil && t.keyID == "" {
		if newer := v.source.after(ctx, keys); newer != keys {
			return newer.verify(t)
		}
	}
	return payload, err
}
