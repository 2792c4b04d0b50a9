package renew

import (
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	minCooldown = time.Second
	maxCooldown = 5 * time.Minute

	// maxRetryAfter is the longest cooldown that a token endpoint may ask for.
	maxRetryAfter = time.Hour

	// forgetAfter is how long an idle state is kept: who comes later finds a credential
	// that nobody has tried.
	forgetAfter = time.Minute

	// sweepInterval is how often idle states are looked for.
	sweepInterval = 15 * time.Second
)

// state is what is remembered of one key. The coordinator's mutex guards it.
type state struct {
	flight     *flight   // under way
	cooldown   *cooldown // after a failure
	failures   int       // in a row
	noAnswer   bool      // the last token request had none
	rejections int       // in a row, by the upstream, of tokens that we obtained
	own        uint64    // sum of the access token that this process obtained
	aheadAfter time.Time // no refresh ahead of expiry before

	claims    []*pendingClaim // that are not settled
	recoverAt time.Time       // they are not taken up before
	postponed int             // times in a row that they were put off
	watch     watch
	usedAt    time.Time
}

// cooldown holds back further attempts after one that failed.
type cooldown struct {
	until       time.Time // zero: not before the document changes
	err         error
	sum         uint64 // of what the document says that could not be refreshed
	fingerprint string // of the configuration that it failed under
}

// active reports whether r holds back p. r may be nil.
func (r *cooldown) active(p *Provider, now time.Time) bool {
	return r != nil && r.fingerprint == p.Fingerprint && (r.until.IsZero() || now.Before(r.until))
}

// concerns reports whether cred says the same as the document that r is about. What
// processes note in it of their attempts makes no difference.
func (r *cooldown) concerns(cred *credential.Credential) bool { return r.sum == sumOf(cred) }

// seed makes the sums this process's own.
var seed = maphash.MakeSeed()

// sumOf is a sum of what people and token endpoints have written into a document.
func sumOf(cred *credential.Credential) uint64 {
	sum := maphash.Bytes(seed, cred.JSON())
	if recordOf(cred).disabled() {
		sum++
	}
	return sum
}

// cool begins a cooldown, and notes it in e; without a delay it lasts until the document
// changes.
func (s *state) cool(p *Provider, cred *credential.Credential, err error, delay time.Duration, e *Event) {
	s.cooldown = &cooldown{err: err, sum: sumOf(cred), fingerprint: p.Fingerprint}
	if delay > 0 {
		s.cooldown.until = time.Now().Add(delay)
	}
	e.Cooldown, e.Until, e.sum = delay, s.cooldown.until, s.cooldown.sum
}

// delay is how long a cooldown is: 1 s, doubled with each failure to 5 min, and up to a
// quarter more, so that what failed together is not tried together.
func (s *state) delay() time.Duration {
	return backoff(minCooldown, maxCooldown, s.failures+s.rejections)
}

// backoff is lowest for the first attempt, doubled with each further one up to
// highest, and up to a quarter more.
func backoff(lowest, highest time.Duration, attempt int) time.Duration {
	d := lowest << min(max(attempt-1, 0), 16)
	d = min(d, highest)
	return d + rand.N(d/4) //nolint:gosec // spreads load, guards nothing
}

// isForgettable reports whether s tells nothing any more that is worth its memory.
func (s *state) isForgettable(now time.Time) bool {
	return s.flight == nil && len(s.claims) == 0 && now.Sub(s.usedAt) > forgetAfter && now.After(s.aheadAfter) &&
		(s.cooldown == nil || now.After(s.cooldown.until.Add(forgetAfter)))
}

// setOwn notes cred as obtained by this process.
func (s *state) setOwn(p *Provider, cred *credential.Credential) {
	token, _ := p.Renewer.Token(cred)
	s.own = maphash.String(seed, token)
}

func (s *state) isOwn(p *Provider, cred *credential.Credential) bool {
	if p.Renewer == nil {
		return false
	}
	token, err := p.Renewer.Token(cred)
	return err == nil && s.own == maphash.String(seed, token)
}

// state returns that of key. The mutex is held.
func (c *Coordinator) state(key credential.Key, now time.Time) *state {
	s := c.states[key]
	if s == nil {
		c.sweep(now)
		s = &state{}
		c.states[key] = s
	}
	s.usedAt = now
	return s
}

// sweep drops the states that tell nothing any more. The mutex is held.
func (c *Coordinator) sweep(now time.Time) {
	if now.Sub(c.swept) < sweepInterval {
		return
	}
	c.swept = now
	kept := make(map[credential.Key]*state) // a map does not shrink
	for key, s := range c.states {
		if !s.isForgettable(now) {
			kept[key] = s
		}
	}
	c.states = kept
}
