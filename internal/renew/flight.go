package renew

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// flight is one refresh under way. Calls for the same key wait for it until it is
// released, which may be before it ends.
type flight struct {
	provider *Provider
	ahead    bool // nobody rejected the credential
	recovery bool // nobody asked: it is for a claim that is not settled
	joined   bool // a call waits for it; guarded by the coordinator's mutex
	released chan struct{}
	ended    chan struct{}
	waitsFor atomic.Value  // string: what it waits for now
	judged   atomic.Uint64 // the newest version that it has looked at; 0: none

	// Set before released is closed.
	credential *credential.Credential
	err        error
	isReleased bool // guarded by the coordinator's mutex
}

// begin starts a flight for another credential than rejected; without one it settles
// what is pending and does no more. The mutex is held.
func (c *Coordinator) begin(s *state, p *Provider, key credential.Key, rejected *credential.Credential, ahead bool) {
	f := &flight{provider: p, ahead: ahead, recovery: rejected == nil, released: make(chan struct{}), ended: make(chan struct{})}
	s.flight = f
	c.enter()
	go func() {
		cred, err := c.renewSafely(&renewal{Coordinator: c, flight: f, provider: p, renewer: p.Renewer, key: key, rejected: rejected})
		c.mu.Lock()
		defer c.mu.Unlock()
		f.release(cred, err)
		c.states[key].flight = nil // at once: who comes now must not join what is over
		close(f.ended)
		c.takeUpNow(key)
		c.leave()
		if f.recovery {
			select {
			case c.wake <- struct{}{}: // another one has its turn
			default:
			}
		}
	}()
}

// renewSafely renews. A defect of this program must not end the proxy with it.
func (c *Coordinator) renewSafely(r *renewal) (cred *credential.Credential, err error) {
	defer func() {
		defect := recover()
		if defect == nil {
			return
		}
		e := panicked(defect)
		cred, err = nil, e.Err
		r.postpone(maxPostponed)
		if r.rejected != nil {
			_ = r.fail(r.rejected, e)
		} else {
			r.tell(e)
		}
	}()
	return r.renew()
}

// panicked is an event about a defect of this program.
func panicked(defect any) Event {
	return Event{Kind: Panicked, Err: fmt.Errorf("%w: %w: %s", ErrFailed, errPanicked, describe(defect)), Stack: string(debug.Stack())}
}

// describe tells a defect without a value that may be secret.
func describe(defect any) string {
	if known, ok := defect.(runtime.Error); ok {
		return known.Error()
	}
	return fmt.Sprintf("%T", defect)
}

// enter and leave count what is under way. The mutex is held.
func (c *Coordinator) enter() {
	if c.active++; c.active == 1 {
		c.idle = make(chan struct{})
	}
}

func (c *Coordinator) leave() {
	if c.active--; c.active > 0 {
		return
	}
	if c.isClosed() {
		c.giveJournalsUp()
	}
	close(c.idle)
}

// release lets go who waits for f. Only the first call has an effect. The mutex
// is held.
func (f *flight) release(cred *credential.Credential, err error) {
	if f.isReleased {
		return
	}
	f.credential, f.err, f.isReleased = cred, err, true
	close(f.released)
}

// releaseWaiters lets go who waits for r, which goes on.
func (r *renewal) releaseWaiters(cred *credential.Credential, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flight.release(cred, err)
}

// isAwaited reports whether somebody waits for the flight.
func (r *renewal) isAwaited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.flight.recovery || r.flight.joined
}

// What a flight waits for.
const (
	theStore    = "the store"
	theClaim    = "another process's claim to come to an end"
	theEndpoint = "the token endpoint"
)

// waitFor notes what r is about to wait for.
func (r *renewal) waitFor(what string) { r.flight.waitsFor.Store(what) }

// gaveUp tells that a request has not waited for a flight any longer, and for what, and
// returns its error.
func (c *Coordinator) gaveUp(ctx context.Context, key credential.Key, f *flight) error {
	err := fmt.Errorf("%w: %w", ErrFailed, context.Cause(ctx))
	if what, _ := f.waitsFor.Load().(string); what != "" && errors.Is(err, errWaited) {
		err = fmt.Errorf("%w: for %s", err, what)
		c.tell(key, Event{Kind: WaitedInVain, Err: err, Duration: maxWait})
	}
	return err
}

// postpone says when to look again at claims that cannot be settled now, after longest
// at most.
func (r *renewal) postpone(longest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s := r.state(r.key, now)
	if now.Before(s.recoverAt) {
		return // it was not this one's turn: a request came
	}
	s.postponed++
	s.recoverAt = now.Add(backoff(recoverInterval, longest, s.postponed))
}
