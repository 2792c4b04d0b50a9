// Package scheme is what authentication schemes are written against: ways to
// authenticate a request to an upstream API with a tenant's credential.
//
// A scheme is a Caddy module in the namespace upstream_auth.schemes that implements
// [Scheme]. In a Caddyfile its name is a subdirective of a provider; it implements
// caddyfile.Unmarshaler for that, with errors made by the Dispenser, which have the file
// and the line in them. A scheme may besides implement
//
//   - [Renewer], if one request to a server renews its credentials,
//   - [Describer], to say what it needs of a credential,
//   - [Companion], if it does not say who makes a request,
//
// and its [Authenticator] may be a [Challenger] or a [ConnectionAuthenticator].
//
// Errors are logged, and shown to operators: none quotes a secret, nor what a server
// answered. The directory examples/ownschemes has schemes to begin with.
package scheme

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"hash"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Scheme authenticates requests with a tenant's credential. A provider has one or
// more, applied in order. It is safe for concurrent use.
type Scheme interface {
	// Names are what Authenticate may set. What the client sent under them is removed
	// first, in every spelling. They are asked for when a Caddyfile is adapted, too: before
	// Provision, of a scheme that was unmarshalled. No two schemes of a provider set the
	// same but for Cookie, and none sets what frames the message (Content-Length, Trailer,
	// Connection, Host …).
	Names() Names

	// Bind checks one version of a credential and prepares it, without I/O. The result is
	// kept with that version. The error is a [credential.FieldError]: also if a value cannot
	// be sent where it belongs, as one with a line break in a header.
	Bind(*credential.Credential) (Authenticator, error)
}

// Names are header fields and query parameters.
type Names struct{ Header, Query []string }

// Authenticator authenticates requests with one version of a credential. It is safe
// for concurrent use.
type Authenticator interface {
	// Authenticate is called once for each attempt, with a copy of the request as it goes
	// out: after all rewriting, with the dialled URL and the sent Host. It changes header,
	// path, query and trailer, and leaves the host, which was allowed before, and the body
	// to the proxy. An [ErrBodyTooLarge] is answered with 413, a [credential.ErrUnavailable],
	// which is logged, with 503, other errors with 502; each may be wrapped.
	Authenticate(req *http.Request, body Body) error
}

// Body is the request's body, for schemes that sign it.
type Body interface {
	// Hash writes the whole body to h: it waits for the client's last byte and records
	// it within replay_max_body. The error is [ErrBodyTooLarge] if it is longer than that,
	// or that of the client, whose request is over then.
	Hash(h hash.Hash) error
}

// ErrBodyTooLarge says that a body is longer than can be recorded.
var ErrBodyTooLarge = errors.New("request body is too large to be signed")

// Challenger is an Authenticator that can answer a rejection with the credential that
// it has: a nonce of Digest (RFC 7616) or DPoP (RFC 9449). It is asked once for each
// request, before the credential is renewed.
type Challenger interface {
	Authenticator

	// Challenge reports whether the request is to be sent once more, authenticated anew.
	// The response has no body.
	Challenge(*http.Response) (retry bool)
}

// ConnectionAuthenticator authenticates the connection: requests go out on connections
// of this credential alone.
type ConnectionAuthenticator interface {
	Authenticator

	// TLSConfig returns base, which it may change, with what authenticates. It is called
	// once for each version of the credential.
	TLSConfig(base *tls.Config) *tls.Config
}

// Describer is a Scheme that says what it needs of a credential, as a JSON Schema
// (2020-12). It is checked on every way in and on every read; what is writeOnly in it
// cannot be exposed.
type Describer interface {
	Scheme
	Schema() json.RawMessage
}

// Companion is a Scheme that goes with others: it does not say who makes a request, as
// one that changes the URL. Beside it a [Renewer] still sends its token.
type Companion interface {
	Scheme
	Companion()
}
