package journal

import (
	"fmt"
	"time"
)

// Limits of what a journal takes, in bytes.
const (
	MaxResponse = 1 << 20  // an answer's Response; also its SpentToken
	MaxText     = 4 << 10  // each string of a note
	reserve     = 64 << 10 // what is kept free on the disk for the answer to each open claim
)

// ClaimRecord is what a process writes down before it claims a credential.
type ClaimRecord struct {
	Provider, Tenant string // the credential's key
	Nonce            string // the claim's, not empty: what its answer and its settlement refer to
	Fingerprint      string // of the refresh token that is to be spent
	BaseVersion      uint64 // version of the document that the claim replaces
}

// Check reports whether a journal takes n: [ErrNonce] or [ErrTooLarge] if not.
func (n ClaimRecord) Check() error {
	if n.Nonce == "" {
		return ErrNonce
	}
	for _, text := range []string{n.Provider, n.Tenant, n.Nonce, n.Fingerprint} {
		if len(text) > MaxText {
			return fmt.Errorf("%w: a note with %d bytes in one string", ErrTooLarge, len(text))
		}
	}
	return nil
}

// Answer is what came of a claim. It is secret: printed or marshalled it shows
// the time alone.
type Answer struct {
	SpentToken string    `json:"-"` // the refresh token that was spent, to compare with the one in the store
	Response   []byte    `json:"-"` // the token endpoint's answer as it came
	At         time.Time // when the endpoint was asked; read back in UTC
}

// Check reports whether a journal takes a: [ErrTooLarge] if not.
func (a Answer) Check() error {
	if len(a.SpentToken) > MaxResponse || len(a.Response) > MaxResponse {
		return fmt.Errorf("%w: an answer of %d bytes to a token of %d", ErrTooLarge, len(a.Response), len(a.SpentToken))
	}
	return nil
}

// String keeps the secrets out of whatever is formatted.
func (a Answer) String() string { return "answer at " + a.At.UTC().Format(time.RFC3339) }

// GoString does so for %#v.
func (a Answer) GoString() string { return a.String() }

// PendingClaim is a claim that is not settled.
type PendingClaim struct {
	ClaimRecord
	Answer *Answer // nil if none was noted
}
