package renew

import (
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// renewal is what goes on for one credential in one flight.
type renewal struct {
	*Coordinator
	flight   *flight
	provider *Provider
	renewer  scheme.Renewer // nil: the credential is not refreshed
	key      credential.Key
	rejected *credential.Credential // another one is wanted; nil: none is

	claims []claimView // on the credential, as they were when the pass began
	looked int         // how often an older version was read

	retried bool // the token endpoint has had it asked once more
}

// result is what came of one pass of a renewal.
type result struct {
	credential *credential.Credential
	err        error // errConcurrentUpdate: the document is another one, look anew
}

func failure(err error) result { return result{err: err} }

// renew finds another credential than the rejected one.
func (r *renewal) renew() (*credential.Credential, error) {
	for range rounds {
		pass := r.pass()
		switch {
		case errors.Is(pass.err, errConcurrentUpdate):
			continue
		case pass.err == nil && r.rejected != nil && !r.flight.ahead && !tokenChanged(r.provider, pass.credential, r.rejected):
			// Otherwise each request would ask for it again.
			return nil, r.fail(pass.credential, Event{Kind: Unusable, Err: errSameToken})
		}
		return pass.credential, pass.err
	}
	return nil, errNothingNewer
}

// pass is the protocol from its beginning to its end, once.
func (r *renewal) pass() result {
	// What is unfinished is judged by a document that is read after that is known.
	r.claims = r.viewClaims()
	r.waitFor(theStore)
	if finished := r.finishAnswered(); finished != (result{}) {
		return finished
	}
	began := time.Now()
	newest, err := r.read(r.key)
	if err != nil {
		return failure(r.notRead(err))
	}
	r.flight.judged.Store(newest.Version())
	if r.rejected != nil {
		if found, err := r.evaluate(newest, began); found || err != nil {
			return result{newest.Credential, err}
		}
	}
	known, err := r.history(newest)
	if err != nil && !errors.Is(err, credential.ErrInvalid) { // no refresh token is no failure
		return failure(r.notRead(err))
	}
	own, err := r.judge(newest, known)
	if err != nil {
		return failure(err)
	}
	next := r.decide(newest, known, own)
	if r.rejected == nil && next.do == spend && r.coolsDown() {
		return result{credential: newest.Credential}
	}
	switch next.do {
	case stop:
		return r.stop(newest.Credential, next)
	case await:
		return r.await(newest, known)
	default:
		return r.spend(newest, next.options)
	}
}

// notRead ends a pass that could not read the store.
func (r *renewal) notRead(err error) error {
	kind := StoreFailed
	if errors.Is(err, credential.ErrNotFound) {
		kind = Deleted
	}
	r.tell(Event{Kind: kind, Err: err})
	r.postpone(maxCommitPause)
	return err
}

// evaluate reports whether the newest document, read at some time since began, is already
// what is wanted instead of the rejected one. An error says why there is no more to be had.
func (r *renewal) evaluate(newest version, began time.Time) (bool, error) {
	r.cache.SetSince(r.key, newest.Credential, began)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s := r.state(r.key, now)
	if s.cooldown != nil && !s.cooldown.concerns(newest.Credential) {
		s.cooldown = nil // others may now wait for this flight
	}
	switch {
	case tokenChanged(r.provider, newest.Credential, r.rejected):
		return true, nil
	case r.renewer == nil:
		s.cool(r.provider, newest.Credential, ErrUnchanged, 0, new(Event))
		return false, ErrUnchanged
	case s.cooldown.active(r.provider, now):
		return false, s.cooldown.err
	}
	return false, nil
}

// action is what is done next for a refresh token.
type action struct {
	do      step
	err     error     // stop: why
	kind    EventKind // stop: what that is
	until   time.Time // stop: when that is over; zero: when the document changes
	options spendOptions
}

type step int

const (
	stop  step = iota
	await      // who claimed it
	spend
)

// spendOptions are how a refresh token is spent.
type spendOptions struct {
	known       record        // what is known of the token
	claimless   bool          // it lasts: nobody has to be kept from it
	withinGrace bool          // over the claim of somebody who may still use it
	takesOver   *pendingClaim // a claim of our own, or of an exited process
	maybeSpent  bool          // it may have been sent before, and nobody has the answer
}

// decide says what is to be done for the refresh token of the newest document, by what is
// known of it and by this process's own claims on it.
func (r *renewal) decide(newest version, known record, own ownClaims) action {
	if r.rejected == nil && own.unanswered == nil {
		return action{}
	}
	p := r.provider
	token, err := r.renewer.Spends(newest.Credential)
	if err != nil {
		return action{err: fmt.Errorf("%w: %w", ErrReauthorizationRequired, err), kind: Refused}
	}
	ownerExited := r.options.Exclusive && known.Owner != r.id // nobody else has this store open
	anothers := known.claimed() && (own.listening == nil || known.Nonce != own.listening.Nonce)
	switch {
	case known.disabled():
		return action{err: errDisabled, kind: Disabled}
	case own.listening != nil && (own.unanswered != nil || !anothers), r.listeners() >= maxListeners:
		return action{err: errNoAnswerYet, kind: NoAnswer}
	case own.held != nil:
		return action{err: errNoTokens, kind: Unusable, until: own.held.heldUntil}
	case own.unanswered != nil && p.Takeover < 0:
		return action{err: errPersonNeeded, kind: Refused}
	case own.unanswered != nil:
		return action{do: spend, options: spendOptions{known: known, takesOver: own.unanswered, maybeSpent: true}}
	case token == "", p.Rotation == scheme.RotationNone:
		return action{do: spend, options: spendOptions{claimless: true}}
	case known.refused():
		return action{err: fmt.Errorf("%w: the refresh token was refused before", ErrReauthorizationRequired), kind: Refused}
	case !known.claimed():
		return action{do: spend, options: spendOptions{known: known, maybeSpent: known.Since != ""}}
	case ownerExited && p.Takeover < 0:
		return action{err: errPersonNeeded, kind: Refused}
	case ownerExited:
		return action{do: spend, options: spendOptions{known: known, maybeSpent: true}}
	}
	return action{do: await}
}

// stop ends a pass in which there was nothing to spend.
func (r *renewal) stop(cred *credential.Credential, why action) result {
	if why.err == nil {
		return result{credential: cred}
	}
	r.postpone(maxPostponed)
	e := Event{Kind: why.kind, Err: why.err}
	switch {
	case errors.Is(why.err, errNoAnswerYet):
		r.letListen(cred, nil, e)
	case !why.until.IsZero():
		_ = r.coolDown(cred, e, max(time.Until(why.until), minCooldown))
	default:
		_ = r.coolDown(cred, e, 0)
	}
	return failure(why.err)
}

// fail notes a failure that may pass, and returns its error.
func (r *renewal) fail(cred *credential.Credential, e Event) error {
	return r.failFor(cred, e, 0)
}

// failFor is fail with a cooldown that is at least so long.
func (r *renewal) failFor(cred *credential.Credential, e Event, atLeast time.Duration) error {
	r.withState(func(s *state) {
		s.failures++
		e.Count = s.failures
		s.cool(r.provider, cred, e.Err, max(s.delay(), min(atLeast, maxRetryAfter)), &e)
	})
	r.tell(e)
	return e.Err
}

// pauseShortly begins a short cooldown, after a delay, for something that is no failure of
// the credential's own. It returns the error.
func (r *renewal) pauseShortly(cred *credential.Credential, e Event, delay time.Duration) error {
	return r.coolDown(cred, e, delay+backoff(minCooldown, minCooldown, 1))
}

// coolDown begins a cooldown, without a delay one that lasts until the document changes,
// and returns its error.
func (r *renewal) coolDown(cred *credential.Credential, e Event, delay time.Duration) error {
	known := false
	r.withState(func(s *state) {
		known = s.cooldown != nil && s.cooldown.concerns(cred) && s.cooldown.err.Error() == e.Err.Error()
		s.cool(r.provider, cred, e.Err, delay, &e)
	})
	if !known || delay > 0 { // it is looked at again and again while a claim is pending
		r.tell(e)
	}
	return e.Err
}

// coolsDown reports whether a cooldown holds the credential back now.
func (r *renewal) coolsDown() (active bool) {
	r.withState(func(s *state) { active = s.cooldown.active(r.provider, time.Now()) && !s.cooldown.until.IsZero() })
	return active
}

// withState calls do with what is remembered of the credential.
func (r *renewal) withState(do func(*state)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do(r.state(r.key, time.Now()))
}

// tell tells the observer.
func (r *renewal) tell(e Event) { r.Coordinator.tell(r.key, e) }
