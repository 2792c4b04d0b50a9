package explain

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

// RetryAt is before when nothing is tried again; zero: that is not known, or not before
// the document changes.
func RetryAt(e *renew.Event) time.Time {
	if e.ClaimAge > 0 {
		return e.TakeoverAt
	}
	return e.Until
}

// UTC is a time as it is told: to the second.
func UTC(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// IsFailure reports whether somebody has to know of an outcome. e may be nil.
func IsFailure(e *renew.Event) bool {
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

// NormalRefresh is how long a refresh takes at most as a rule.
const NormalRefresh = 15 * time.Second

// isOldClaim reports whether a claim is waited for that is older than a refresh takes.
func isOldClaim(e *renew.Event) bool {
	return e.ClaimAge > 0 && e.ClaimAge+time.Since(e.At) > NormalRefresh
}

// claimed is what a claim of another process is called.
const claimed = "another process has claimed the refresh token and not finished"

// Cause says in words what happened, without times.
func Cause(e *renew.Event) string {
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

// Message says in words what happened, and for how long a claim has been waited for.
func Message(e *renew.Event) string {
	text := Cause(e)
	if e.ClaimAge == 0 {
		return text
	}
	text += fmt.Sprintf(": it did so %v before", e.ClaimAge.Round(time.Second))
	if e.TakeoverAt.IsZero() {
		return text + ", and nobody takes over (takeover never)"
	}
	return text + ", and others take over at " + UTC(e.TakeoverAt).Format(time.RFC3339)
}

// Remedy says what to do about a failure.
func Remedy(p *upstream.Provider, e *renew.Event) string {
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
		if o == nil {
			return "Have the tenants bring what its server accepts, as another password: a new credential is tried at once. The same is tried again after a quarter of an hour."
		}
		return "Have the tenants authorize anew."
	}
	if o == nil && e.Kind == renew.Unusable {
		return "Check where the scheme that renews them looks for the token in the answer."
	}
	if o == nil {
		return "Check the settings of the scheme that renews them, and whether its server runs, answers, and can be reached from here."
	}
	o = o.Server(e.Err)
	host := hostOf(o.Endpoint())
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
	return "See what caddy upstream-auth doctor says of the token endpoint " + atHost(host) + "and of the client secret: whether it runs and answers, and can be reached from here."
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
		text += "Otherwise it is taken over at " + UTC(e.TakeoverAt).Format(time.RFC3339) + "."
	}
	return text + " If an old credential was written back over a newer one, write the newest tokens."
}

// atHost names a host, if it is the same for all tenants.
func atHost(host string) string {
	if host == "" {
		return ""
	}
	return "at " + host + " "
}
