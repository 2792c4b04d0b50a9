package bearer

import (
	"errors"
	"fmt"
)

// Errors of [Verifier.Verify], possibly wrapped; ask with [errors.Is]. Those that
// are an [ErrInvalid] say in plain words which check failed, and can be shown to
// the caller. The others can name files and hosts of the configuration.
var (
	// ErrMissing says that the header has no bearer token in it.
	ErrMissing = errors.New("no bearer token")

	// ErrInvalid says that there is a token and that it is not accepted.
	ErrInvalid = errors.New("bearer token refused")

	// ErrExpired is an [ErrInvalid]: the token was valid once.
	ErrExpired = fmt.Errorf("%w: token has expired", ErrInvalid)

	// ErrUnavailable says that nothing can be said about the token, since the
	// secret or the key set cannot be loaded.
	ErrUnavailable = errors.New("keys for bearer tokens are not available")
)

var (
	errTooLong      = fmt.Errorf("%w: token is longer than %d bytes", ErrInvalid, maxToken)
	errForm         = fmt.Errorf("%w: token is not a signed JWT in compact form", ErrInvalid)
	errPayload      = fmt.Errorf("%w: payload of the token is not a valid JSON object", ErrInvalid)
	errExtension    = fmt.Errorf("%w: token needs an extension that is not supported", ErrInvalid)
	errType         = fmt.Errorf("%w: token is made for another use", ErrInvalid)
	errAlgorithm    = fmt.Errorf("%w: algorithm is not allowed", ErrInvalid)
	errUnknownKey   = fmt.Errorf("%w: key of the token is not known", ErrInvalid)
	errSignature    = fmt.Errorf("%w: signature is not valid for the key and its algorithm", ErrInvalid)
	errClaims       = fmt.Errorf("%w: a registered claim has the wrong type", ErrInvalid)
	errLifetime     = fmt.Errorf("%w: token is good for longer than is allowed here", ErrInvalid)
	errNoExpiry     = fmt.Errorf("%w: token has no expiry", ErrInvalid)
	errIssuer       = fmt.Errorf("%w: token is from another issuer", ErrInvalid)
	errAudience     = fmt.Errorf("%w: token is for another audience", ErrInvalid)
	errNotYet       = fmt.Errorf("%w: token is not valid yet", ErrInvalid)
	errNoTenant     = fmt.Errorf("%w: token names no tenant", ErrInvalid)
	errTenant       = fmt.Errorf("%w: tenant claim is not a tenant's name", ErrInvalid)
	errEmptySecret  = errors.New("file is empty")
	errShortSecret  = errors.New("secret is shorter than the hash of its algorithm (RFC 7518 section 3.2)")
	errNotKeySet    = errors.New("not a JWK set")
	errTooManyKeys  = fmt.Errorf("JWK set has more than %d keys for signatures", maxKeys)
	errNotRegular   = errors.New("not a regular file")
	errFileTooLarge = errors.New("file is too large")
)
