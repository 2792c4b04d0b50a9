package tokenrequest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Error says what is wrong with a token endpoint or its answer, and what that means
// for the token that was to be spent. Its text holds nothing that came from the
// endpoint but the status and a known error code.
type Error struct {
	Reason string

	// Status is that of the answer; 0: there was none.
	Status int

	// Code is the error code (RFC 6749 section 5.2), "" if the answer has none. One
	// that is not known is told as "unknown_error".
	Code string

	// Description is the endpoint's error_description: one line of at most 200 bytes,
	// without what was in the request, and without what looks like a token. It is
	// not in the text of the error.
	Description string

	// RetryAfter is how long the endpoint asks to be left alone; 0: it does not say.
	RetryAfter time.Duration

	NoResponse bool // no answer, or one that tells nothing: counts for the breaker
	Unspent    bool // the token is as it was: not sent, or not looked at
	Permanent  bool // the token is refused for good
	Retry      bool // with Unspent: the endpoint wants it once more, at once, with what it told
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return "token endpoint: " + e.Reason
	case e.Code != "":
		return fmt.Sprintf("token endpoint answered %d, %s", e.Status, e.Code)
	default:
		return fmt.Sprintf("token endpoint answered %d, %s", e.Status, e.Reason)
	}
}

// noAnswer tells why there is none; held says that a request that was not sent was
// late, or closed. The text of err may quote what the endpoint sent, so only kinds of
// errors are told.
func noAnswer(err error, sent, held bool) *Error {
	if !sent {
		return &Error{Reason: "the request was not sent", Unspent: true, NoResponse: !held}
	}
	reason := "connection ended without an answer"
	if isTimeout(err) || errors.Is(err, context.Canceled) {
		reason = "no answer in time"
	}
	return &Error{Reason: reason, NoResponse: true}
}

// notConnected tells why there is no connection.
func notConnected(err error) *Error {
	e := &Error{Reason: "cannot connect", NoResponse: true, Unspent: true}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.Reason = "its certificate is not trusted"
	} else if proxy, ok := errors.AsType[proxyError](err); ok {
		e.Reason = "cannot connect: " + proxy.Error()
	} else if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		e.Reason = "it refuses the TLS connection"
	} else if isTimeout(err) || errors.Is(err, context.Canceled) {
		e.Reason = "cannot connect in time"
	}
	return e
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
