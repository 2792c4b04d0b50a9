package renew

import (
	"hash/maphash"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// aheadSpread is by what part of RefreshAhead a background refresh may be early, so that
// tokens that were issued together are not refreshed together.
const aheadSpread = 4

// aheadPause is how long after a refresh no other one begins ahead of expiry.
const aheadPause = time.Second

// aheadSeed makes each process spread its tenants in another way.
var aheadSeed = maphash.MakeSeed()

// AheadFrom returns from when on [Coordinator.Ahead] may have something to do for a token
// that expires at expiresAt; false: never.
func (p *Provider) AheadFrom(expiresAt time.Time) (time.Time, bool) {
	if p.Renewer == nil || p.RefreshAhead < 0 {
		return time.Time{}, false
	}
	return expiresAt.Add(-p.RefreshAhead - p.RefreshAhead/aheadSpread), true
}

// aheadAt is when the tenant's token is to be refreshed in the background: RefreshAhead
// before it expires, and earlier by a part of aheadSpread that is the tenant's own.
func (p *Provider) aheadAt(tenant credential.Tenant, expiresAt time.Time) time.Time {
	const parts = 1024
	part := time.Duration(maphash.String(aheadSeed, string(tenant)) % parts) //nolint:gosec // less than parts
	return expiresAt.Add(-p.RefreshAhead - p.RefreshAhead/aheadSpread*part/parts)
}

// expiresSoon reports whether the access token of cred is to be refreshed in the background.
func expiresSoon(p *Provider, tenant credential.Tenant, cred *credential.Credential, now time.Time) bool {
	if p.Renewer == nil || p.RefreshAhead < 0 {
		return false
	}
	expiresAt, ok := p.Renewer.ExpiresAt(cred)
	return ok && !now.Before(p.aheadAt(tenant, expiresAt))
}

// nextAhead is when a token obtained at one time and expiring at another is to be
// refreshed: RefreshAhead before it expires, but not in the first half of its
// life, or one that lives shorter would be refreshed without end.
func (p *Provider) nextAhead(obtainedAt, expiresAt time.Time) time.Time {
	ahead := min(p.RefreshAhead, max(0, expiresAt.Sub(obtainedAt)/2))
	return expiresAt.Add(-ahead)
}
