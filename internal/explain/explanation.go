package explain

import (
	"fmt"
	"net/url"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Explanation says in words what is going to happen. It names hosts, and nothing of the
// credential.
type Explanation struct {
	Provider *upstream.Provider
	Cred     *credential.Credential // nil: there is none that could be used
	Status   string
	Disabled bool
	Last     *renew.Event // what happened last to it; nil: that is not known
	Connect  bool         // there is a way to connect in a browser
	Now      time.Time
}

// Request says what happens to a request.
func (o *Explanation) Request() string {
	switch o.Status {
	case lifecycle.StatusMissing:
		if asked := o.application(); asked != "" {
			return "It waits while the application at " + asked + " is asked for the credential. " +
				"If there is none, it is refused with 403 " + string(proxy.CodeTenantUnknown) + "."
		}
		return "It is refused with 403 " + string(proxy.CodeTenantUnknown) + ". The upstream is not asked."
	case lifecycle.StatusInvalid:
		return "It is refused with 502 " + string(proxy.CodeCredentialInvalid) + ". The upstream is not asked."
	}
	if _, refreshable := o.refresh(); o.lacksToken() && refreshable && o.coolsDown() {
		return "There is no access token yet, and the last attempt to get one failed: it is refused until " + UTC(o.Last.Until).Format(time.RFC3339) + ", when that is tried again."
	} else if o.lacksToken() && refreshable {
		return "There is no access token yet: " + o.endpoint() + " is asked for one first, within 15 s. If that fails, it is refused."
	} else if o.lacksToken() {
		return "There is no access token, and none to be had: it is refused. The upstream is not asked."
	}
	expiresAt, expires := o.expiresAt()
	if !expires {
		return "It is sent at once."
	}
	_, refreshable := o.refresh()
	switch left := expiresAt.Sub(o.Now); {
	case left <= 0 && refreshable && o.coolsDown():
		return "The access token has expired, and the last refresh failed: the upstream is asked with the old one until " +
			UTC(o.Last.Until).Format(time.RFC3339) + ", when a refresh is tried again."
	case left <= 0 && refreshable:
		return "The access token has expired: it is refreshed at " + o.endpoint() + " first, within 15 s. " +
			"If that fails, the upstream is asked with the old one."
	case left <= 0 && o.application() != "":
		return "The access token has expired and cannot be refreshed: the application at " + o.application() + " is asked for another credential first. " +
			"If it has none, the upstream is asked with the old one."
	case left <= 0:
		return "The access token has expired and cannot be refreshed: the upstream is asked with it all the same."
	case refreshable && left <= o.Provider.RefreshAhead:
		return "It is sent at once. The access token expires soon and is refreshed at " + o.endpoint() + " in the background."
	}
	return "It is sent at once."
}

// On401 says what happens when the upstream answers 401.
func (o *Explanation) On401() string {
	switch {
	case o.Status == lifecycle.StatusMissing && o.application() != "":
		return "That depends on the credential that the application gives."
	case o.Cred == nil || o.Status == lifecycle.StatusInvalid:
		return "The upstream is not asked."
	case o.Provider.Renewer == nil:
		return "The store is read again. If it has another credential by now, the request is sent once more with that. " +
			"Otherwise " + o.otherwise(proxy.CodeRefreshFailed)
	}
	text, _ := o.refresh()
	return text
}

// refresh says what a refresh would do, and whether it could bring new tokens.
func (o *Explanation) refresh() (text string, refreshable bool) {
	renewer, takeover := o.Provider.Renewer, o.Provider.Takeover
	if renewer == nil {
		return "", false
	}
	if o.Disabled {
		return "Nothing is refreshed, as an operator has disabled it: the app gets the 401, with " + string(proxy.CodeRefreshFailed) + ".", false
	}
	spent, err := renewer.Spends(o.Cred)
	if err != nil {
		return "Nothing is refreshed, as the credential has no refresh token: " + o.otherwise(proxy.CodeReauthorizationRequired), false
	}
	switch {
	case o.Status != lifecycle.StatusReauthorize && o.Last != nil && o.Last.Kind == renew.Refused && o.coolsDown():
		return "Nothing is refreshed before " + UTC(o.Last.Until).Format(time.RFC3339) + ", as " + Message(o.Last) + ": " + o.otherwise(proxy.CodeReauthorizationRequired), false
	case o.Status != lifecycle.StatusReauthorize && o.Last != nil && o.Last.Kind == renew.Refused && o.Last.Until.IsZero():
		return "Nothing is refreshed, as " + Message(o.Last) + ": " + o.otherwise(proxy.CodeReauthorizationRequired), false
	case o.Status == lifecycle.StatusReauthorize:
		return "Nothing is refreshed, as the token endpoint has refused the refresh token for good: " +
			o.otherwise(proxy.CodeReauthorizationRequired), false
	case o.Status == lifecycle.StatusRefreshing && !o.coolsDown():
		text = "A refresh is under way: the request waits for its outcome, for 15 s at most, and is sent once more with the new access token. "
		if takeover < 0 {
			return text + "If whoever does it has died and left no journal, a person has to authorize anew (takeover never).", true
		}
		return text + fmt.Sprintf("If whoever does it has died and left no journal, another process takes over after %v.", takeover), true
	}
	if spent == "" {
		return o.afterFailure() + "Another access token is asked for at " + o.endpoint() + " with what else the credential has, and stored, " +
			"and the request is sent once more.", true
	}
	return o.afterFailure() + "The access token is refreshed at " + o.endpoint() + " with the stored refresh token, the new tokens are stored, " +
		"and the request is sent once more.", true
}

// coolsDown reports whether nothing is tried for a while, as a refresh failed.
func (o *Explanation) coolsDown() bool { return IsFailure(o.Last) && o.Last.Until.After(o.Now) }

// afterFailure says what keeps a refresh from being made now.
func (o *Explanation) afterFailure() string {
	switch {
	case IsFailure(o.Last) && isOldClaim(o.Last):
		return "The request waits within 15 s, as " + Message(o.Last) + ". After that: "
	case o.coolsDown():
		return "The last refresh failed, so that none is tried before " + UTC(o.Last.Until).Format(time.RFC3339) +
			": the app gets the 401 at once, with " + string(proxy.CodeRefreshFailed) + ". After that: "
	}
	return ""
}

// otherwise says what is done when there is no new credential.
func (o *Explanation) otherwise(code proxy.Code) string {
	if asked := o.application(); asked != "" {
		return "the application at " + asked + " is asked for another one. If it has none, the app gets the 401, with " + string(code) + "."
	}
	return "the app gets the 401, with " + string(code) + "."
}

// ToDo says what a person has to do.
func (o *Explanation) ToDo() string {
	switch {
	case o.Status == lifecycle.StatusMissing && o.application() != "":
		return ""
	case o.Status == lifecycle.StatusMissing:
		return "Bring a credential: " + o.ways()
	case o.Status == lifecycle.StatusInvalid:
		return "Replace the credential: " + o.ways()
	case o.Provider.Renewer == nil:
		return ""
	case o.Disabled:
		return "To have it refreshed again, set disabled to false: by the credentials API, or in the document, under " + credential.ReservedField + "."
	case o.application() != "" && !IsFailure(o.Last):
		return ""
	}
	if _, refreshable := o.refresh(); refreshable {
		if IsFailure(o.Last) {
			return Remedy(o.Provider, o.Last)
		}
		return o.endOfRefreshToken()
	}
	if spent, err := o.Provider.Renewer.Spends(o.Cred); err == nil && spent == "" {
		return "Replace the credential by one that " + o.endpoint() + " accepts: " + o.ways()
	}
	if expiresAt, expires := o.expiresAt(); o.Status == lifecycle.StatusReady && (!expires || expiresAt.After(o.Now)) {
		return "Once the access token is not accepted any more, somebody has to authorize anew: " + o.ways()
	}
	return "Somebody has to authorize anew: " + o.ways()
}

// endOfRefreshToken says what follows from when the refresh token expires, if that is soon.
func (o *Explanation) endOfRefreshToken() string {
	at, known := o.Provider.RefreshTokenExpiresAt(o.Cred)
	switch left := at.Sub(o.Now); {
	case !known || left > expiresSoon, left > 0 && o.Provider.KeepAlive > 0:
		return ""
	case left > 0:
		return "The refresh token expires at " + UTC(at).Format(time.RFC3339) + ": unless it is used before, somebody has to authorize anew: " + o.ways()
	}
	return "The refresh token expired at " + UTC(at).Format(time.RFC3339) + ", by what its server said. It is tried all the same; if it is refused, somebody has to authorize anew: " + o.ways()
}

// lacksToken reports whether the credential has no access token, and is to get its first.
func (o *Explanation) lacksToken() bool {
	if o.Provider.Renewer == nil {
		return false
	}
	_, err := o.Provider.Renewer.Token(o.Cred)
	return err != nil
}

// expiresAt is when the token expires, if that is known.
func (o *Explanation) expiresAt() (time.Time, bool) {
	if o.Provider.Renewer == nil {
		return time.Time{}, false
	}
	return o.Provider.Renewer.ExpiresAt(o.Cred)
}

// ways are those by which a credential comes in.
func (o *Explanation) ways() string {
	if o.Connect {
		return "send the end user a link (caddy upstream-auth connect-link), or bring one yourself (caddy upstream-auth put)."
	}
	return "caddy upstream-auth put, or the credentials API."
}

// endpoint is the host of the token endpoint.
func (o *Explanation) endpoint() string {
	if oauth2 := o.Provider.OAuth2(); oauth2 != nil {
		if o.Cred != nil && oauth2.TokenURL != nil {
			if u, err := oauth2.TokenURL.ExecuteURL(o.Cred); err == nil {
				return u.Host
			}
		}
		if host := hostOf(oauth2.Endpoint()); host != "" {
			return host
		}
	}
	if own, ok := o.Provider.Renewer.(interface{ Servers() []string }); ok && len(own.Servers()) > 0 {
		return hostOf(own.Servers()[0])
	}
	return "its server"
}

// application is the host that is asked for credentials, empty if none is.
func (o *Explanation) application() string {
	if o.Provider.Fetch == nil {
		return ""
	}
	return hostOf(o.Provider.Fetch.URL)
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
