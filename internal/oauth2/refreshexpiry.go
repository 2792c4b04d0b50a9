package oauth2

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
)

// RFC 6749 has no word for when a refresh token expires, so authorization servers have
// several.
var (
	refreshTokenLifetimes = []string{"refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"}
	refreshTokenExpiries  = []string{"refresh_token_expires_at", "refresh_expires_at"}
)

// namesOr returns the configured name, or else those that are common.
func namesOr(configured string, common []string) []string {
	if configured != "" {
		return []string{configured}
	}
	return common
}

// readRefreshTokenExpiry returns when the refresh token expires that is worth something
// after a request that was made now.
func (r *Renewer) readRefreshTokenExpiry(at func(path string) gjson.Result, now time.Time) (time.Time, bool) {
	for _, path := range namesOr(r.ResponseFields.RefreshTokenExpiresAt, refreshTokenExpiries) {
		if expires, ok := fields.Time(at(path)); ok && expires.Sub(now) <= fields.MaxLifetime {
			return expires, true
		}
	}
	for _, path := range namesOr(r.ResponseFields.RefreshTokenExpiresIn, refreshTokenLifetimes) {
		if lifetime, ok := fields.Lifetime(at(path), r.ExpiresInUnit); ok {
			return now.Add(lifetime), true
		}
	}
	return time.Time{}, false
}

// RefreshTokenExpiresAt returns when the refresh token of c expires, by what its server
// said; false if that is not known. Clocks are off, and the server decides: a token is used
// after that, too.
func (r *Renewer) RefreshTokenExpiresAt(c *credential.Credential) (time.Time, bool) {
	if r.Grant != GrantRefreshToken {
		return time.Time{}, false
	}
	if value := c.Get(r.Fields.RefreshTokenExpiresAt); value.Type != gjson.Null {
		return fields.Time(value)
	}
	if !asItCame(c) {
		return time.Time{}, false
	}
	return r.readRefreshTokenExpiry(c.Get, c.WrittenAt())
}

// Optional are the fields of a credential that tell more than requests need. What the
// operator's schema says of them does not make the credential invalid.
func (r *Renewer) Optional() []string { return []string{r.Fields.RefreshTokenExpiresAt} }
