package renew

import (
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Status is what a document says of its refresh token.
type Status struct {
	// State is "ready", "refreshing" or "reauthorization_required". Without a refresh
	// token it is "ready": nothing is known against the access token.
	State string

	// Disabled says that operators want no refresh.
	Disabled bool

	// By is who obtained the tokens, see [Options].Name and [Carry]; empty if the
	// document does not say. Somebody who writes other tokens past both, and leaves
	// [credential.ReservedField] there, is not noticed.
	By string

	// ClaimedSince is when the refresh under way began, by the store's clock; zero
	// if none is, or if the document does not say.
	ClaimedSince time.Time
}

// StatusOf returns the status of cred, a stored document, by what is in it; renewer is
// nil for a credential that is not refreshed. A refresh that is known of an older version only, as somebody wrote the document
// anew meanwhile, does not show.
func StatusOf(renewer scheme.Renewer, cred *credential.Credential) Status {
	r := recordOf(cred)
	s := Status{State: statusReady, Disabled: r.disabled(), By: r.By}
	if renewer == nil {
		return s
	}
	token, err := renewer.Spends(cred)
	switch {
	case err != nil:
	case r.Fingerprint != fingerprint(token):
		// It speaks of another one.
	case r.claimed():
		s.State = "refreshing"
		s.ClaimedSince, _ = time.Parse(time.RFC3339Nano, r.At)
	case r.refused():
		s.State = statusReauthorize
	}
	return s
}

// SetDisabled returns the document of cred with the operators' switch set, which
// stops refreshes, or cleared. Everything else in it stays. The error is a
// [credential.ErrInvalid].
func SetDisabled(cred *credential.Credential, disabled bool) ([]byte, error) {
	r := recordOf(cred)
	r.Disabled = ""
	if disabled {
		r.Disabled = yes
	}
	return r.within(cred)
}

// Carry returns document, a new credential that is to replace old, with what old
// says under [credential.ReservedField]: a claim counts on if the refresh token is
// the same, and so does what operators said. by is who brings it, as a [Status]
// tells it; old is nil if there is none. The error is a [credential.ErrInvalid],
// that of [credential.CheckInput] if document cannot be taken.
func Carry(old *credential.Credential, document []byte, by string) ([]byte, error) {
	if err := credential.CheckInput(document); err != nil {
		return nil, err
	}
	cred, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, err
	}
	var r record
	if old != nil {
		r = recordOf(old)
	}
	r.By = by
	return r.within(cred)
}

// within is in for a document that is to be stored by others: without a record that
// says nothing, and within the limits.
func (r record) within(cred *credential.Credential) ([]byte, error) {
	if r == (record{}) {
		return cred.JSON(), nil
	}
	document, err := r.in(cred)
	if err == nil && len(document) > credential.MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes with %s", credential.ErrInvalid, credential.MaxSize, credential.ReservedField)
	}
	return document, err
}
