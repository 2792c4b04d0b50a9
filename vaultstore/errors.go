package vaultstore

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/api"
)

// StatusError is an answer of Vault that is none to what was asked.
type StatusError struct {
	// Status is the HTTP status.
	Status int

	// Messages are Vault's own words, as far as they can be repeated: without
	// paths, tokens and contents, a few, each short.
	Messages []string
}

func (e *StatusError) Error() string {
	if len(e.Messages) == 0 {
		return fmt.Sprintf("Vault answered with status %d", e.Status)
	}
	return fmt.Sprintf("Vault answered with status %d: %s", e.Status, strings.Join(e.Messages, "; "))
}

// Bounds of StatusError.Messages.
const (
	maxMessages      = 4
	maxMessageLength = 200 // bytes
)

// messages returns Vault's words in the body of an answer: its errors and
// warnings.
func messages(body []byte) []string {
	var said struct{ Errors, Warnings []string }
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	return append(said.Errors, said.Warnings...)
}

// knownPhrases are the parts of Vault's messages that say why a request for a
// document failed. Vault's own wording around them contains the path, and may
// contain part of the document.
var knownPhrases = []string{
	"permission denied",
	"invalid token",
	"missing client token",
	"Vault is sealed",
	"no handler for route",
	"unsupported path",
	"unsupported operation",
	"Invalid path for a versioned K/V secrets engine",
	"forwarding via header",
	"check-and-set parameter required for this call",
	conflictPhrase,
	"Upgrading from non-versioned to versioned data",
	"rate limit quota exceeded",
	"lease count quota exceeded",
	"local node not active but active cluster node not found",
	"node is in standby mode",
	"namespace not found",
	"value being too large",
	"context deadline exceeded",
	"internal error",
	"read-only",
}

// conflictPhrase is in the answer to a check-and-set that lost
// (vault-plugin-secrets-kv, path_data.go).
const conflictPhrase = "check-and-set parameter did not match the current version"

// documentError is what a refused request for a document becomes.
func documentError(a answer) *StatusError {
	e := &StatusError{Status: a.status}
	said := strings.Join(messages(a.body), "\n")
	for _, phrase := range knownPhrases {
		if len(e.Messages) < maxMessages && strings.Contains(said, phrase) {
			e.Messages = append(e.Messages, phrase)
		}
	}
	return e
}

// sessionError is what a refused login, renewal or question for a mount becomes.
// Those speak of no tenant and no document, so Vault is quoted, without the
// secrets that were sent.
func sessionError(status int, said []string, secrets ...string) *StatusError {
	e := &StatusError{Status: status}
	for _, message := range said {
		for _, secret := range secrets {
			if secret != "" {
				message = strings.ReplaceAll(message, secret, "[redacted]")
			}
		}
		if message = oneLine(message); message != "" && len(e.Messages) < maxMessages {
			e.Messages = append(e.Messages, message)
		}
	}
	return e
}

// oneLine returns the text as one short line of printable characters.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxMessageLength {
		text = strings.ToValidUTF8(text[:maxMessageLength], "") + "…"
	}
	return text
}

// loginError returns what failed in a login that vault/api made.
func loginError(err error, secrets ...string) error {
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		return withoutURL(err)
	}
	if refused.RawError { // not Vault's words, but those of something before it
		return &StatusError{Status: refused.StatusCode}
	}
	return sessionError(refused.StatusCode, refused.Errors, secrets...)
}

// Causes for which the standard library has no value of its own.
var (
	errTimeout    = errors.New("timeout")
	errConnection = errors.New("the connection to Vault failed")
	errTooLarge   = errors.New("the answer of Vault is too large")
)

// withoutURL returns what is known to be harmless of an error of the HTTP
// client, whose own text has the URL and so the tenant's name.
func withoutURL(err error) error {
	var (
		opErr     *net.OpError
		certErr   *tls.CertificateVerificationError
		recordErr tls.RecordHeaderError
		pathErr   *fs.PathError // a client certificate that is gone
		netErr    net.Error
		sizeErr   *http.MaxBytesError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &sizeErr):
		return errTooLarge
	case errors.As(err, &certErr):
		return certErr
	case errors.As(err, &recordErr), errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch
	case errors.As(err, &opErr):
		same := *opErr
		same.Source = nil // its port makes each a new one
		return &same
	case errors.As(err, &pathErr):
		return pathErr
	case errors.As(err, &netErr) && netErr.Timeout():
		return errTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return errConnection
}

// isUnanswered reports whether err, as withoutURL leaves it, says that Vault did not
// answer.
func isUnanswered(err error) bool {
	for _, cause := range []error{
		context.DeadlineExceeded, context.Canceled, errTimeout, errConnection, io.ErrUnexpectedEOF, http.ErrSchemeMismatch,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	_, isOp := errors.AsType[*net.OpError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	return isOp || isCertificate
}
