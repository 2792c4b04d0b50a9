package refresh

import (
	"errors"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// flight is one refresh under way. Calls for the same key wait for it. It is over
// when its commit is, which may be later than its release.
type flight struct {
	fingerprint string
	ahead       bool // nobody rejected the credential
	done        chan struct{}
	settled     chan struct{} // closed when the commit is in, or has met with trouble
	settleOnce  sync.Once

	// Set before done is closed, together with released, which the coordinator's
	// mutex guards.
	credential *credential.Credential
	err        error
	released   bool
}

// errMovedOn comes with the document that somebody else wrote meanwhile.
var errMovedOn = errors.New("somebody else wrote the document")

// begin starts a flight. The mutex is held.
func (c *Coordinator) begin(s *state, p *Provider, key credential.Key, rejected *credential.Credential, ahead bool) {
	f := &flight{fingerprint: p.Fingerprint, ahead: ahead, done: make(chan struct{}), settled: make(chan struct{})}
	s.flight = f
	s.lookedAt = time.Now()
	if c.active++; c.active == 1 {
		c.idle = make(chan struct{})
	}
	go func() {
		cred, err := c.fly(f, p, key, rejected)

		c.mu.Lock()
		f.release(cred, err)
		f.settle()
		c.states[key].flight = nil // at once: who comes now must not join what is over
		c.active--
		last := c.active == 0
		if last && c.isClosed() {
			c.notes.close()
		}
		if last {
			close(c.idle)
		}
		c.mu.Unlock()
	}()
}

// settle says that waiting for more than what f was released with is over.
func (f *flight) settle() { f.settleOnce.Do(func() { close(f.settled) }) }

// release lets go who waits for f. Only the first call has an effect. The mutex
// is held.
func (f *flight) release(cred *credential.Credential, err error) {
	if f.released {
		return
	}
	f.credential, f.err, f.released = cred, err, true
	close(f.done)
}

// letGo lets go who waits for f, with an error, while f goes on.
func (c *Coordinator) letGo(f *flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.release(nil, err)
}

// fly finds another credential than rejected. Before that it takes up what is not
// settled for key. Without a rejected one that is all it does.
func (c *Coordinator) fly(f *flight, p *Provider, key credential.Key, rejected *credential.Credential) (*credential.Credential, error) {
	for range rounds {
		if err := c.commitAnswered(f, p, key); err != nil && !errors.Is(err, errMovedOn) {
			return nil, err
		}
		began := time.Now()
		newest, err := c.read(key)
		if err != nil {
			p.logger().Warn("refresh failed", "provider", p.Name, "error", err)
			c.postpone(key, maxCommitPause)
			return nil, err
		}
		if rejected != nil {
			if held, err := c.evaluate(p, key, newest.Credential, rejected, began); held || err != nil {
				return newest.Credential, err
			}
		}
		cred, err := c.move(f, p, key, newest, rejected)
		switch {
		case errors.Is(err, errMovedOn):
			continue
		case err != nil:
			return nil, err
		case rejected != nil && !f.ahead && !differ(p, cred, rejected):
			// Otherwise each request would ask for it again.
			return nil, c.fail(p, key, cred, errSameToken, 0)
		}
		return cred, nil
	}
	return nil, errNothingNewer
}

// evaluate reports whether cred, which the store was read to hold at some time since
// began, is already what is wanted instead of rejected. An error says why there is no
// more to be had.
func (c *Coordinator) evaluate(p *Provider, key credential.Key, cred, rejected *credential.Credential, began time.Time) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if s.rest != nil && !s.rest.concerns(cred) {
		s.rest = nil // others may now wait for this flight
	}
	if differ(p, cred, rejected) {
		c.cache.SetSince(key, cred, began)
		return true, nil
	}
	if p.Scheme.OAuth2() == nil {
		s.setRest(p, cred, ErrUnchanged, time.Time{})
		return false, ErrUnchanged
	}
	if s.rest.active(p, now) {
		return false, s.rest.err
	}
	return false, nil
}

// fail notes a failure that may pass, and returns err. The rest is at least
// atLeast.
func (c *Coordinator) fail(p *Provider, key credential.Key, cred *credential.Credential, err error, atLeast time.Duration) error {
	c.mu.Lock()
	now := time.Now()
	s := c.state(key, now)
	s.failures++
	delay := max(s.delay(), min(atLeast, maxRetryAfter))
	s.setRest(p, cred, err, now.Add(delay))
	failures := s.failures
	c.mu.Unlock()
	p.logger().Warn("refresh failed", "provider", p.Name, "error", err, "in_a_row", failures, "rest", delay)
	return err
}

// hold makes cred rest shortly for something that is no failure of its own.
func (c *Coordinator) hold(p *Provider, key credential.Key, cred *credential.Credential, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.state(key, now).setRest(p, cred, err, now.Add(backoff(minRest, minRest, 1)))
	return err
}

// giveUp notes a failure that lasts until the document changes, and returns err.
func (c *Coordinator) giveUp(p *Provider, key credential.Key, cred *credential.Credential, err error) error {
	c.mu.Lock()
	s := c.state(key, time.Now())
	known := s.rest != nil && s.rest.concerns(cred) && s.rest.err.Error() == err.Error()
	s.failures++
	s.setRest(p, cred, err, time.Time{})
	c.mu.Unlock()
	if known {
		return err // it is looked at again and again
	}
	p.logger().Warn("refresh failed for good", "provider", p.Name, "error", err)
	return err
}
