package refresh

import (
	"context"
	"errors"
	"fmt"
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

// start begins a flight. The mutex is held.
func (c *Coordinator) start(s *state, p *Provider, key credential.Key, rejected *credential.Credential, ahead bool) {
	f := &flight{fingerprint: p.Fingerprint, ahead: ahead, done: make(chan struct{}), settled: make(chan struct{})}
	s.flight = f
	s.lookedAt = time.Now()
	if c.active++; c.active == 1 {
		c.idle = make(chan struct{})
	}
	go func() {
		cred, err := c.flyInTurn(f, p, key, rejected)

		c.mu.Lock()
		defer c.mu.Unlock()
		f.release(cred, err)
		f.settle()
		c.states[key].flight = nil // at once: who comes now must not join what is over
		if c.active--; c.active == 0 {
			close(c.idle)
		}
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

// flyInTurn is fly while no other coordinator of the same place refreshes key.
func (c *Coordinator) flyInTurn(f *flight, p *Provider, key credential.Key, rejected *credential.Credential) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	giveBack, err := c.turns.take(ctx, key)
	if err != nil {
		p.logger().Warn("refresh failed", "provider", p.Name, "error", errTurn)
		return nil, errTurn
	}
	defer giveBack()
	return c.fly(f, p, key, rejected)
}

// fly finds another credential than rejected.
func (c *Coordinator) fly(f *flight, p *Provider, key credential.Key, rejected *credential.Credential) (*credential.Credential, error) {
	cred, err := c.read(key)
	for range rounds {
		if err != nil {
			p.logger().Warn("refresh failed", "provider", p.Name, "error", err)
			return nil, err
		}
		if held, err := c.evaluate(p, key, cred, rejected); held || err != nil {
			return cred, err
		}
		cred, err = c.spend(f, p, key, cred)
		if !errors.Is(err, errMovedOn) {
			break
		}
		err = nil
	}
	switch {
	case err != nil:
		return nil, err
	case !f.ahead && !differ(p, cred, rejected):
		// Otherwise each request would ask for it again.
		return nil, c.fail(p, key, cred, errSameToken, 0)
	}
	return cred, nil
}

// read reads the store, past the cache.
func (c *Coordinator) read(key credential.Key) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	doc, err := c.store.Get(ctx, key)
	if errors.Is(err, credential.ErrNotFound) {
		c.cache.Forget(key)
		return nil, fmt.Errorf("%w: %w", errDeleted, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read the credential: %w", ErrFailed, err)
	}
	cred, err := credential.New(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: read the credential: %w", ErrFailed, err)
	}
	return cred, nil
}

// evaluate reports whether cred, which the store holds, is already what is wanted
// instead of rejected. An error says why there is no more to be had.
func (c *Coordinator) evaluate(p *Provider, key credential.Key, cred, rejected *credential.Credential) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if s.rest != nil && !s.rest.concerns(cred) {
		s.rest = nil // others may now wait for this flight
	}
	if differ(p, cred, rejected) {
		c.cache.Set(key, cred)
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

// spend asks the token endpoint for new tokens and commits them. With errMovedOn
// it returns the document that is in the store instead.
func (c *Coordinator) spend(f *flight, p *Provider, key credential.Key, cred *credential.Credential) (*credential.Credential, error) {
	o := p.Scheme.OAuth2()
	refreshToken, err := o.RefreshToken(cred)
	if err != nil {
		return nil, c.giveUp(p, key, cred, fmt.Errorf("%w: %w", ErrReauthorizationRequired, err))
	}
	id, secret, err := o.Client(cred)
	if err != nil {
		return nil, c.fail(p, key, cred, fmt.Errorf("%w: %w", ErrFailed, err), 0)
	}
	if !c.breakers.allow(o.TokenURL, time.Now()) {
		return nil, c.hold(p, key, cred, errBreaker)
	}

	g := grant{spent: refreshToken, at: time.Now()}
	var problem *problem
	g.response, problem = c.endpoint.ask(o, id, secret, refreshToken)
	c.breakers.report(o.TokenURL, problem != nil && problem.silent, time.Now())
	if g.response != nil {
		g.refusal = problem
		fresh, err := g.over(o, cred)
		if fresh != nil {
			return c.commit(f, p, key, g, cred, fresh, err)
		}
		if problem == nil {
			return nil, c.fail(p, key, cred, err, 0)
		}
	}
	if !problem.permanent {
		return nil, c.fail(p, key, cred, fmt.Errorf("%w: %w", ErrFailed, problem), problem.retryAfter)
	}
	// Somebody else may have spent the token before us and stored its successor.
	if newest, err := c.read(key); err == nil && changedTokens(p, newest, cred) {
		return newest, errMovedOn
	}
	return nil, c.giveUp(p, key, cred, fmt.Errorf("%w: %w", ErrReauthorizationRequired, problem))
}

// changedTokens reports whether a has another access or refresh token than b.
func changedTokens(p *Provider, a, b *credential.Credential) bool {
	tokenA, _ := p.Scheme.OAuth2().RefreshToken(a)
	tokenB, _ := p.Scheme.OAuth2().RefreshToken(b)
	return tokenA != tokenB || differ(p, a, b)
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
	s.failures++
	s.setRest(p, cred, err, time.Time{})
	c.mu.Unlock()
	p.logger().Warn("refresh failed for good", "provider", p.Name, "error", err)
	return err
}
