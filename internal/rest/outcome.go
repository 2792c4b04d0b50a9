package rest

import (
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// Outcome is what happened last to a tenant's credential, as far as the Caddy that is
// asked knows: it forgets at a restart. Times are in RFC 3339.
type Outcome struct {
	At time.Time `json:"at"`

	// Outcome is a [renew.EventKind]: refreshed, refused, failed, no_answer, unusable,
	// waited_in_vain, store_failed, ….
	Outcome renew.EventKind `json:"outcome"`

	// Failure says that it is none of those that need nobody's attention.
	Failure bool `json:"failure,omitempty"`

	// Status, Error and ErrorDescription are what the token endpoint answered (RFC 6749
	// section 5.2). The description is bounded, and without what could be a token.
	Status           int    `json:"status,omitempty"`
	Error            string `json:"error,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`

	// Message says the same in words.
	Message string `json:"message,omitempty"`

	// RetryAt is before when nothing is tried again.
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// newOutcome tells an event to operators.
func newOutcome(e *renew.Event) *Outcome {
	body := publicOutcome(e)
	if body != nil {
		body.Error, body.ErrorDescription, body.Message = e.Code, e.Description, explain.Message(e)
	}
	return body
}

// publicOutcome tells an event to a tenant's own front end: nothing in the token
// endpoint's words. e may be nil.
func publicOutcome(e *renew.Event) *Outcome {
	if e == nil {
		return nil
	}
	return &Outcome{At: explain.UTC(e.At), Outcome: e.Kind, Failure: explain.IsFailure(e), Status: e.Status, RetryAt: explain.UTC(explain.RetryAt(e))}
}
