package scheme

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Renewer is a Scheme whose credentials one request to a server renews: OAuth 2.0
// grants, a login. The coordinator decides when, and that what is spent is spent once.
//
// A provider has at most one. If no other scheme beside it says who makes a request, and
// its own Names are empty, its token is sent as Authorization: Bearer (RFC 6750 section
// 2.1).
type Renewer interface {
	Scheme

	// Token tells one credential from the next: the access token, as a rule. The error is
	// a [credential.FieldError].
	Token(*credential.Credential) (string, error)

	// ExpiresAt is when the token expires; false: unknown.
	ExpiresAt(*credential.Credential) (time.Time, bool)

	// Spends returns the token that Request uses up; "": none, so that it can be repeated,
	// and needs no claim. The error, a [credential.FieldError], says that the credential
	// cannot be renewed: somebody has to authorize anew. That is so of an empty field, too.
	Spends(*credential.Credential) (string, error)

	// Request makes the request that renews a credential, and says how its server is
	// trusted; nil: as the system does. It may ask servers before, within seconds and as long
	// as nothing is spent by that. The request has a GetBody if it has a body, and its
	// URL is one for [credential.ParseEndpoint]. It is sent once, over HTTP/1.1, and no
	// redirect is followed. The context says with [IsRetry] that a server asked for another
	// one right away.
	Request(context.Context, *credential.Credential) (*http.Request, *tls.Config, error)

	// Merge returns document, a stored JSON object, with what an answer brings. Everything
	// else in it stays. The error is a [*RefusedError] if the server did not renew, else it
	// says that the answer is of no use to requests; there may be a document even so, with
	// a new token to be spent next, which must not be lost with the rest. Beside a
	// RefusedError that is Permanent it is one without the token that was refused, which
	// can be renewed in another way: then nobody has to authorize anew.
	//
	// It is asked several times about one answer, by this process or by one that finishes
	// what this one began: with an empty object, to know what the answer says, and with the
	// document of the moment. So the result depends on its arguments alone, and no field has
	// to be in the document.
	Merge(document []byte, r Response) ([]byte, error)
}

// Response is a server's answer to [Renewer.Request].
type Response struct {
	Status    int
	Header    http.Header
	Body      []byte    // decompressed, at most 512 KiB
	Truncated bool      // there was more, or should have been
	At        time.Time // when the request was sent: lifetimes in the answer start no later
}

// RefusedError says that a server did not renew a credential. Without Permanent and
// Unspent nobody knows what became of the token; of both, Permanent counts.
type RefusedError struct {
	Code       string        // RFC 6749 section 5.2; what is not known is told as unknown_error
	Permanent  bool          // somebody has to authorize anew
	Unspent    bool          // the token is as it was
	Retry      bool          // with Unspent: once more, now, and not a third time (use_dpop_nonce)
	RetryAfter time.Duration // how long the server asks to be left alone
}

// Error implements error. It quotes nothing but the code.
func (e *RefusedError) Error() string {
	if e.Code == "" {
		return "refused"
	}
	return fmt.Sprintf("refused with %s", e.Code)
}

type retryKey struct{}

// WithRetry marks the context of a [Renewer]'s Request that is made anew after an answer with
// Retry.
func WithRetry(ctx context.Context) context.Context { return context.WithValue(ctx, retryKey{}, true) }

// IsRetry reports whether a request is made anew after an answer with Retry.
func IsRetry(ctx context.Context) bool { return ctx.Value(retryKey{}) != nil }
