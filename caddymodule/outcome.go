package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// outcomeBody is what happened last to a tenant's credential, as far as the Caddy that is
// asked knows: it forgets at a restart. Times are in RFC 3339.
type outcomeBody struct {
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

// newOutcomeBody tells an event to operators.
func newOutcomeBody(e *renew.Event) *outcomeBody {
	body := publicOutcomeBody(e)
	if body != nil {
		body.Error, body.ErrorDescription, body.Message = e.Code, e.Description, messageOf(e)
	}
	return body
}

// publicOutcomeBody tells an event to a tenant's own front end: nothing in the token
// endpoint's words. e may be nil.
func publicOutcomeBody(e *renew.Event) *outcomeBody {
	if e == nil {
		return nil
	}
	return &outcomeBody{At: utc(e.At), Outcome: e.Kind, Failure: isFailure(e), Status: e.Status, RetryAt: utc(retryAt(e))}
}

// retryAt is before when nothing is tried again; zero: that is not known, or not before
// the document changes.
func retryAt(e *renew.Event) time.Time {
	if e.ClaimAge > 0 {
		return e.TakeoverAt
	}
	return e.Until
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// lastOutcome returns what happened last to cred, nil if that is not known, or if it
// happened to what was in the store before cred.
func (a *App) lastOutcome(p *upstream.Provider, tenant credential.Tenant, cred *credential.Credential) *renew.Event {
	if cred == nil {
		return nil
	}
	e, known := a.backend.coordinator.LastOutcome(credential.Key{Provider: p.Name, Tenant: tenant})
	if !known || !e.Concerns(cred) {
		return nil
	}
	return &e
}

// isFailure reports whether somebody has to know of an outcome. e may be nil.
func isFailure(e *renew.Event) bool {
	if e == nil {
		return false
	}
	switch e.Kind {
	case renew.Refreshed, renew.Disabled, renew.Deleted:
		return false
	case renew.Waiting:
		return isOldClaim(e)
	}
	return true
}

// isOldClaim reports whether a claim is waited for that is older than a refresh takes.
func isOldClaim(e *renew.Event) bool {
	return e.ClaimAge > 0 && e.ClaimAge+time.Since(e.At) > normalRefresh
}

// claimed is what a claim of another process is called.
const claimed = "another process has claimed the refresh token and not finished"

// causeOf says in words what happened, without times.
func causeOf(e *renew.Event) string {
	switch {
	case e.Kind == renew.Refreshed:
		return "new tokens are in the store"
	case e.Kind == renew.Disabled:
		return "an operator has disabled refreshes"
	case e.Kind == renew.Panicked:
		return "a defect of this program ended the refresh"
	case e.ClaimAge > 0:
		return claimed
	case e.Err == nil:
		return string(e.Kind)
	}
	text := e.Err.Error()
	for trimmed := true; trimmed; {
		trimmed = false
		for _, prefix := range []error{renew.ErrFailed, renew.ErrReauthorizationRequired} {
			if rest, found := strings.CutPrefix(text, prefix.Error()+": "); found {
				text, trimmed = rest, true
			}
		}
	}
	if e.Kind == renew.CommitDelayed {
		return "new tokens are not in the store yet: " + text
	}
	return text
}

// messageOf says in words what happened, and for how long a claim has been waited for.
func messageOf(e *renew.Event) string {
	text := causeOf(e)
	if e.ClaimAge == 0 {
		return text
	}
	text += fmt.Sprintf(": it did so %v before", e.ClaimAge.Round(time.Second))
	if e.TakeoverAt.IsZero() {
		return text + ", and nobody takes over (takeover never)"
	}
	return text + ", and others take over at " + utc(e.TakeoverAt).Format(time.RFC3339)
}

// remedy says what to do about a failure.
func remedy(p *upstream.Provider, e *renew.Event) string {
	o := p.OAuth2()
	if permission, ok := errors.AsType[*credential.PermissionError](e.Err); ok {
		return fmt.Sprintf("Have the store's policy allow %s on %s.", strings.Join(permission.Capabilities, " and "), permission.Path)
	}
	switch e.Kind {
	case renew.StoreFailed:
		if errors.Is(e.Err, credential.ErrInvalid) {
			return "Replace the credentials that caddy upstream-auth list shows as invalid."
		}
		return "See what is wrong with the store: caddy upstream-auth doctor."
	case renew.CommitDelayed:
		return "See why the store does not take them: caddy upstream-auth doctor. Leave the journal where it is: it has them."
	case renew.JournalFailed:
		return "Have the journal's directory be writable, with room on its disk: caddy upstream-auth doctor says more."
	case renew.Rejected:
		return "The upstream does not accept new tokens either: check scopes and the audience, whether it is the API that they are for, and refresh_on."
	case renew.Panicked:
		return "Report it, with the lines of the log."
	case renew.Waiting, renew.WaitedInVain:
		return remedyOfClaim(e)
	case renew.Refused:
		if e.Code == "unauthorized_client" {
			return "Have the authorization server allow the client to refresh tokens, and have the tenants authorize anew."
		}
		return "Have the tenants authorize anew."
	}
	if o == nil {
		return "Check the settings of " + nameOf(p.Renewer) + ", and whether its server runs, answers, and can be reached from here."
	}
	host := hostOf(o.TokenURL)
	switch {
	case e.Code == "invalid_client", e.Status == http.StatusUnauthorized:
		return fmt.Sprintf("Check client_id, the client secret and client_auth (%s now) against what is registered at the authorization server.", o.ClientAuth)
	case e.Code == "invalid_scope":
		return "Check scopes: they may be no more than what was granted."
	case e.Kind == renew.Unusable:
		return fmt.Sprintf("Check token_url, rotation and response_field: a new access token is looked for in the answer at %s.", o.ResponseFields.AccessToken)
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable:
		return "It wants to be left alone for a while, and is asked again by itself. If that does not end, ask who runs it."
	case e.Status >= 500:
		return "It has trouble of its own: ask who runs it, and check token_url."
	case e.Status >= 300 && e.Status < 400, e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed, e.Status == http.StatusGone:
		return "Check token_url: what answers there is no token endpoint."
	case e.Status > 0:
		return fmt.Sprintf("Check token_url, client_auth (%s now), scopes and param against what the endpoint's documentation wants.", o.ClientAuth)
	}
	return "See what caddy upstream-auth doctor says of the token endpoint at " + host + " and of the client secret: whether it runs and answers, and can be reached from here."
}

// remedyOfClaim says what to do when a claim is waited for.
func remedyOfClaim(e *renew.Event) string {
	if e.ClaimAge == 0 {
		return "See what does not answer: caddy upstream-auth doctor."
	}
	text := "If who claimed it still runs, it finishes by itself; if it is gone, have Caddy run where its journal is, which finishes at once. "
	if e.TakeoverAt.IsZero() {
		text += "Otherwise somebody has to authorize anew (takeover never)."
	} else {
		text += "Otherwise it is taken over at " + utc(e.TakeoverAt).Format(time.RFC3339) + "."
	}
	return text + " If an old credential was written back over a newer one, write the newest tokens."
}
