package refresh

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	minRest = time.Second
	maxRest = 5 * time.Minute

	// maxRetryAfter is the longest rest that a token endpoint may ask for.
	maxRetryAfter = time.Hour

	// lookInterval is how often, at most, the store is looked into for a document
	// that ends a rest early.
	lookInterval = time.Second

	// forgetAfter is how long an idle state is kept, longer than any rest but that
	// for good; minSweep is the number of states below which none is dropped.
	forgetAfter = 2 * time.Hour
	minSweep    = 1024
)

// state is what is remembered of one key. The coordinator's mutex guards it.
type state struct {
	flight     *flight // under way
	rest       *rest   // after a failure
	failures   int     // in a row
	rejections int     // in a row, by the upstream, of tokens that we obtained
	own        [sha256.Size]byte
	aheadAfter time.Time // no refresh ahead of expiry before
	lookedAt   time.Time // when the store was last read

	entries   []*entry  // claims that are not settled
	recoverAt time.Time // they are not taken up before
	postponed int       // times in a row that they were put off
	seenNonce string    // claim of somebody else that was seen last
	seenAt    time.Time // when it was first seen
	usedAt    time.Time
}

// rest holds back further attempts after a failed one.
type rest struct {
	until       time.Time // zero: for good
	err         error
	credential  *credential.Credential // that could not be refreshed
	fingerprint string                 // of the configuration that it failed under
}

// active reports whether r holds back p. r may be nil.
func (r *rest) active(p *Provider, now time.Time) bool {
	return r != nil && r.fingerprint == p.Fingerprint && (r.until.IsZero() || now.Before(r.until))
}

// concerns reports whether cred is the document that r is about. What ends a rest
// for good may be a change of our own record alone, in a newer version.
func (r *rest) concerns(cred *credential.Credential) bool {
	if r.until.IsZero() && cred.Version() > r.credential.Version() {
		return false
	}
	return r.credential == cred || bytes.Equal(r.credential.JSON(), cred.JSON())
}

func (s *state) setRest(p *Provider, cred *credential.Credential, err error, until time.Time) {
	s.rest = &rest{until: until, err: err, credential: cred, fingerprint: p.Fingerprint}
}

// delay is how long to rest: 1 s, doubled with each failure to 5 min, and up to a
// quarter more, so that what failed together is not tried together.
func (s *state) delay() time.Duration {
	return backoff(minRest, maxRest, s.failures+s.rejections)
}

// backoff is lowest for the first attempt, doubled with each further one up to
// highest, and up to a quarter more.
func backoff(lowest, highest time.Duration, attempt int) time.Duration {
	d := lowest << min(max(attempt-1, 0), 16)
	d = min(d, highest)
	return d + rand.N(d/4) //nolint:gosec // spreads load, guards nothing
}

// idle reports whether nothing depends on s but how soon something is tried again.
func (s *state) idle() bool { return s.flight == nil && len(s.entries) == 0 && s.seenNonce == "" }

// setOwn notes cred as obtained by this process.
func (s *state) setOwn(p *Provider, cred *credential.Credential) {
	token, _ := p.Scheme.OAuth2().AccessToken(cred)
	s.own = sha256.Sum256([]byte(token))
}

func (s *state) isOwn(p *Provider, cred *credential.Credential) bool {
	o := p.Scheme.OAuth2()
	if o == nil {
		return false
	}
	token, err := o.AccessToken(cred)
	return err == nil && s.own == sha256.Sum256([]byte(token))
}

// state returns that of key. The mutex is held.
func (c *Coordinator) state(key credential.Key, now time.Time) *state {
	s := c.states[key]
	if s == nil {
		if len(c.states) >= c.sweep {
			for k, old := range c.states {
				if old.idle() && now.Sub(old.usedAt) > forgetAfter {
					delete(c.states, k)
				}
			}
			c.sweep = max(minSweep, 2*len(c.states))
		}
		s = &state{}
		c.states[key] = s
	}
	s.usedAt = now
	return s
}
