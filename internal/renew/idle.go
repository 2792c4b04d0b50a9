package renew

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// minIdle is how long a refresh token is left alone after it was used, however soon its
// server says that it ends.
const minIdle = 10 * time.Minute

// idleFor returns how long the refresh token of a credential may stay unused after now, by
// the store's clock. Without a token that is to be kept alive, false, it says when to see
// whether there is one.
func (p *Provider) idleFor(tenant credential.Tenant, cred *credential.Credential, now time.Time) (time.Duration, bool) {
	half := p.KeepAlive / 2
	token, err := p.Renewer.Spends(cred)
	says := recordOf(cred)
	known := says.Fingerprint == fingerprint(token)
	if err != nil || token == "" || says.disabled() || known && says.refused() {
		return half, false
	}
	if now.IsZero() {
		now = time.Now()
	}
	// The store knows when the document was written, which is not always a use.
	used := cred.WrittenAt()
	if at, err := time.Parse(time.RFC3339Nano, says.Renewed); known && err == nil && (used.IsZero() || at.Before(used)) {
		used = at
	}
	due := turnAfter(p.Name, tenant, half, used.Add(half))
	if ends, ok := p.RefreshTokenExpiresAt(cred); ok && ends.After(used) { // else it was used after that
		if early := used.Add(max(minIdle, ends.Sub(used)/4*3)); early.Before(due) {
			due = early
		}
	}
	return max(due.Sub(now), 0), true
}

// turnAfter returns a tenant's first turn after a point in time: there is one in each
// interval, where in it follows from the name.
func turnAfter(provider string, tenant credential.Tenant, interval time.Duration, after time.Time) time.Time {
	sum := sha256.Sum256([]byte(provider + "/" + string(tenant)))
	phase := time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(interval)) //nolint:gosec // less than the interval, which is above zero
	return after.Add(-phase).Truncate(interval).Add(phase + interval)
}
