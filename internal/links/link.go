package links

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// ErrUsed says that a link is not registered any more, that an account was connected
// with it, or that an attempt had its end before.
var ErrUsed = errors.New("link or state was used before, or withdrawn")

// Link is what is registered of a link.
type Link struct {
	// Expires is until when an attempt can begin.
	Expires time.Time `json:"expires"`

	// ReturnTo is where the browser is sent in the end.
	ReturnTo string `json:"return_to,omitempty"`

	// Account is what has to be true of the account, by the names of claims.
	Account map[string]string `json:"account,omitempty"`

	// Parameters are what was said for the link: fields of the new credential, by their
	// paths.
	Parameters map[string]string `json:"parameters,omitempty"`

	// Handoff is the [Fingerprint] of the link's id and of the code that it wants besides.
	Handoff string `json:"handoff,omitempty"`

	// Used says that an account was connected, or is being so.
	Used bool `json:"used,omitempty"`

	// Attempts are those to use it, by the [Fingerprint] of their ids, until they expire.
	Attempts map[string]Attempt `json:"attempts,omitempty"`
}

// Attempt is a browser that was sent to the authorization server.
type Attempt struct {
	Expires time.Time `json:"expires"`

	// Ended says that it came back, or was never sent.
	Ended bool `json:"ended,omitempty"`

	// Known is what it was sent with of the credential that is to be, until it has ended.
	Known json.RawMessage `json:"known,omitempty"`
}

// Begin notes an attempt, which may have ended at once. The error is a [QuotaError].
func (l *Link) Begin(id string, a Attempt) error {
	var first time.Time
	for known, other := range l.Attempts {
		if !time.Now().Before(other.Expires) {
			delete(l.Attempts, known)
		} else if first.IsZero() || other.Expires.Before(first) {
			first = other.Expires
		}
	}
	if len(l.Attempts) >= MaxAttempts {
		return &QuotaError{What: "attempts at using one link", RetryAfter: time.Until(first)}
	}
	if l.Attempts == nil {
		l.Attempts = make(map[string]Attempt)
	}
	l.Attempts[Fingerprint(id)] = a
	return nil
}

// End ends an attempt, once, and returns what it was. The error is [ErrUsed].
func (l *Link) End(id string) (Attempt, error) {
	a, begun := l.Attempts[Fingerprint(id)]
	if !begun || a.Ended {
		return Attempt{}, ErrUsed
	}
	l.Attempts[Fingerprint(id)] = Attempt{Expires: a.Expires, Ended: true}
	return a, nil
}

// isOver reports whether nothing can come of the link any more.
func (l *Link) isOver(now time.Time) bool {
	if l.Used || now.Before(l.Expires) {
		return l.Used
	}
	for _, a := range l.Attempts {
		if !a.Ended && now.Before(a.Expires) {
			return false
		}
	}
	return true
}

// Fingerprint is what is kept of secrets: their SHA-256.
func Fingerprint(secrets ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(secrets, "\x00")))
	return encoding.EncodeToString(sum[:])
}

// Matches reports whether a fingerprint is that of these secrets.
func Matches(fingerprint string, secrets ...string) bool {
	return subtle.ConstantTimeCompare([]byte(fingerprint), []byte(Fingerprint(secrets...))) == 1
}
