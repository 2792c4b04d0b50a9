package connect

import (
	"net/http"
)

const (
	cookiePrefix = "upstream_auth_connect_"

	// hostPrefix makes a browser take a cookie from the host itself alone, and by TLS
	// (RFC 6265bis section 4.1.3.2).
	hostPrefix = "__Host-"
)

// cookieName is another one for each state, so that a person can connect in two
// tabs.
func (r *redirect) cookieName(s *state) string {
	name := cookiePrefix + s.ID
	if r.secure {
		return hostPrefix + name
	}
	return name
}

// cookie is the cookie of s, or with an empty value the one that removes it.
func (r *redirect) cookie(s *state, value string) *http.Cookie {
	c := &http.Cookie{
		Name:     r.cookieName(s),
		Value:    value,
		Path:     "/",
		MaxAge:   int(stateTTL.Seconds()),
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
