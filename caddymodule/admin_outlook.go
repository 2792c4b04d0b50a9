package caddymodule

import (
	"fmt"
	"net/url"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/enroll"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
	"github.com/upstreamauth/caddy-upstream-auth/internal/wire"
)

// outlook says in words what is going to happen. It names hosts, and nothing of the
// credential.
type outlook struct {
	provider *provider
	cred     *credential.Credential // nil: there is none that could be used
	status   string
	disabled bool
	last     *refresh.Event // what happened last to it; nil: that is not known
	connect  bool           // there is a way to connect in a browser
	now      time.Time
}

// request says what happens to a request.
func (o *outlook) request() string {
	switch o.status {
	case statusMissing:
		if asked := o.application(); asked != "" {
			return "It waits while the application at " + asked + " is asked for the credential. " +
				"If there is none, it is refused with 403 " + string(wire.CodeTenantUnknown) + "."
		}
		return "It is refused with 403 " + string(wire.CodeTenantUnknown) + ". The upstream is not asked."
	case enroll.StatusInvalid:
		return "It is refused with 502 " + string(wire.CodeCredentialInvalid) + ". The upstream is not asked."
	}
	ready := o.provider.prepare(o.cred)
	if !ready.expiresKnown {
		return "It is sent at once."
	}
	_, refreshable := o.refresh()
	switch left := ready.expires.Sub(o.now); {
	case left <= 0 && refreshable && o.coolsDown():
		return "The access token has expired, and the last refresh failed: the upstream is asked with the old one until " +
			utc(o.last.Until).Format(time.RFC3339) + ", when a refresh is tried again."
	case left <= 0 && refreshable:
		return "The access token has expired: it is refreshed at " + o.endpoint() + " first, within 15 s. " +
			"If that fails, the upstream is asked with the old one."
	case left <= 0:
		return "The access token has expired and cannot be refreshed: the upstream is asked with it all the same."
	case refreshable && left <= o.provider.scheme.OAuth2().RefreshAhead:
		return "It is sent at once. The access token expires soon and is refreshed at " + o.endpoint() + " in the background."
	}
	return "It is sent at once."
}

// on401 says what happens when the upstream answers 401.
func (o *outlook) on401() string {
	switch {
	case o.status == statusMissing && o.application() != "":
		return "That depends on the credential that the application gives."
	case o.cred == nil || o.status == enroll.StatusInvalid:
		return "The upstream is not asked."
	case o.provider.scheme.OAuth2() == nil:
		return "The store is read again. If it has another credential by now, the request is sent once more with that. " +
			"Otherwise " + o.otherwise(wire.CodeRefreshFailed)
	}
	text, _ := o.refresh()
	return text
}

// refresh says what a refresh would do, and whether it could bring new tokens.
func (o *outlook) refresh() (text string, refreshable bool) {
	oauth2 := o.provider.scheme.OAuth2()
	if oauth2 == nil {
		return "", false
	}
	if o.disabled {
		return "Nothing is refreshed, as an operator has disabled it: the app gets the 401, with " + string(wire.CodeRefreshFailed) + ".", false
	}
	if _, err := oauth2.RefreshToken(o.cred); err != nil {
		return "Nothing is refreshed, as the credential has no refresh token: " + o.otherwise(wire.CodeReauthorizationRequired), false
	}
	switch {
	case o.status != statusReauthorize && o.last != nil && o.last.Kind == refresh.Refused:
		return "Nothing is refreshed, as " + messageOf(o.last) + ": " + o.otherwise(wire.CodeReauthorizationRequired), false
	case o.status == statusReauthorize:
		return "Nothing is refreshed, as the token endpoint has refused the refresh token for good: " +
			o.otherwise(wire.CodeReauthorizationRequired), false
	case o.status == statusRefreshing && !o.coolsDown():
		text = "A refresh is under way: the request waits for its outcome, for 15 s at most, and is sent once more with the new access token. "
		if oauth2.Takeover < 0 {
			return text + "If whoever does it has died and left no journal, a person has to authorize anew (takeover never).", true
		}
		return text + fmt.Sprintf("If whoever does it has died and left no journal, another process takes over after %v.", oauth2.Takeover), true
	}
	return o.afterFailure() + "The access token is refreshed at " + o.endpoint() + " with the stored refresh token, the new tokens are stored, " +
		"and the request is sent once more.", true
}

// coolsDown reports whether nothing is tried for a while, as a refresh failed.
func (o *outlook) coolsDown() bool { return isFailure(o.last) && o.last.Until.After(o.now) }

// afterFailure says what keeps a refresh from being made now.
func (o *outlook) afterFailure() string {
	switch {
	case isFailure(o.last) && isOldClaim(o.last):
		return "The request waits within 15 s, as " + messageOf(o.last) + ". After that: "
	case o.coolsDown():
		return "The last refresh failed, so that none is tried before " + utc(o.last.Until).Format(time.RFC3339) +
			": the app gets the 401 at once, with " + string(wire.CodeRefreshFailed) + ". After that: "
	}
	return ""
}

// otherwise says what is done when there is no new credential.
func (o *outlook) otherwise(code wire.Code) string {
	if asked := o.application(); asked != "" {
		return "the application at " + asked + " is asked for another one. If it has none, the app gets the 401, with " + string(code) + "."
	}
	return "the app gets the 401, with " + string(code) + "."
}

// toDo says what a person has to do.
func (o *outlook) toDo() string {
	switch {
	case o.status == statusMissing && o.application() != "":
		return ""
	case o.status == statusMissing:
		return "Bring a credential: " + o.ways()
	case o.status == enroll.StatusInvalid:
		return "Replace the credential: " + o.ways()
	case o.provider.scheme.OAuth2() == nil:
		return ""
	case o.disabled:
		return "To have it refreshed again, set disabled to false: by the credentials API, or in the document, under " + credential.ReservedField + "."
	case o.application() != "" && !isFailure(o.last):
		return ""
	}
	if _, refreshable := o.refresh(); refreshable {
		if isFailure(o.last) {
			return o.provider.remedy(o.last)
		}
		return ""
	}
	if ready := o.provider.prepare(o.cred); o.status == statusReady && (!ready.expiresKnown || ready.expires.After(o.now)) {
		return "Once the access token is not accepted any more, somebody has to authorize anew: " + o.ways()
	}
	return "Somebody has to authorize anew: " + o.ways()
}

// ways are the roads by which a credential comes in.
func (o *outlook) ways() string {
	if o.connect {
		return "send the tenant's person a link (caddy upstream-auth connect-link), or bring one yourself (caddy upstream-auth put)."
	}
	return "caddy upstream-auth put, or the credentials API."
}

// endpoint is the host of the token endpoint.
func (o *outlook) endpoint() string { return hostOf(o.provider.scheme.OAuth2().TokenURL) }

// application is the host that is asked for credentials, empty if none is.
func (o *outlook) application() string {
	if o.provider.enroll.Fetch == nil {
		return ""
	}
	return hostOf(o.provider.enroll.Fetch.URL)
}

// hostOf returns the host of a URL that was checked before, with its port if it names
// one.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
