package refresh

import (
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// expiresSoon reports whether the access token of cred is within RefreshAhead of
// its expiry.
func expiresSoon(p *Provider, cred *credential.Credential, now time.Time) bool {
	o := p.Scheme.OAuth2()
	if o == nil || o.RefreshAhead < 0 {
		return false
	}
	expiresAt, ok, _ := o.ExpiresAt(cred)
	return ok && !now.Before(expiresAt.Add(-o.RefreshAhead))
}

// nextAhead is when a token obtained at one time and expiring at another is to be
// refreshed: RefreshAhead before it expires, but not in the first half of its
// life, or one that lives shorter would be refreshed without end.
func nextAhead(o *scheme.OAuth2, obtainedAt, expiresAt time.Time) time.Time {
	ahead := min(o.RefreshAhead, max(0, expiresAt.Sub(obtainedAt)/2))
	return expiresAt.Add(-ahead)
}
