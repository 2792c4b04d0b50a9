package connect

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

const (
	cookiePrefix = "upstream_auth_connect_"

	// hostPrefix makes a browser take a cookie from the host itself alone, and by TLS
	// (RFC 6265bis section 4.1.3.2).
	hostPrefix = "__Host-"
)

// cookieName is another one for each link, so that a person can connect in two tabs.
func (r *redirect) cookieName(l *link) string {
	name := cookiePrefix + links.Fingerprint(l.ID)
	if r.secure {
		return hostPrefix + name
	}
	return name
}

// readCookie returns what the browser has in its cookie for l, empty if it has none, or
// several.
func (r *redirect) readCookie(request *http.Request, l *link) string {
	cookies := request.CookiesNamed(r.cookieName(l))
	if len(cookies) != 1 {
		return ""
	}
	return cookies[0].Value
}

// giveCookie gives the browser a cookie for l, the one that it has if there is one: the
// person may have the link open in two tabs.
func (r *redirect) giveCookie(w http.ResponseWriter, request *http.Request, l *link) (value string) {
	if value = r.readCookie(request, l); len(value) < len(rand.Text()) {
		value = rand.Text()
	}
	http.SetCookie(w, r.cookie(l, value))
	return value
}

// cookie is the cookie for l, or with an empty value the one that removes it.
func (r *redirect) cookie(l *link, value string) *http.Cookie {
	c := &http.Cookie{
		Name:     r.cookieName(l),
		Value:    value,
		Path:     "/",
		MaxAge:   max(1, int(time.Until(l.expires().Add(stateTTL)).Seconds())),
		Secure:   r.secure,
		HttpOnly: true,
		// Lax: the callback is a navigation from another site.
		SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}
