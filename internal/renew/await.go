package renew

import (
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const (
	// patience is how long requests wait for another's claim since it was first seen. After
	// that it is looked at, and not waited for.
	patience = maxWait

	minPoll = 25 * time.Millisecond
	maxPoll = 500 * time.Millisecond

	// maxLook is how long it takes at most until a claim is looked at again that was waited
	// for in vain.
	maxLook = 2 * time.Second
)

// watch is what this process has seen of another's claim.
type watch struct {
	nonce string
	first time.Time // when it was seen first
	last  time.Time // when it was seen last
	leave time.Time // until when it is left to its owner, see ownersChance
	flaky bool      // a single read that failed has counted as an outage
	times int       // that it was waited for in vain
}

// see notes that the claim was seen now, by a read that began at one time, after so many
// that failed.
func (r *renewal) see(nonce string, began time.Time, failed int) watch {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s := r.state(r.key, now)
	w := &s.watch
	gap := began.Sub(w.last) // without the read: a store that is slow is no outage
	switch {
	case w.nonce != nonce:
		*w = watch{nonce: nonce, first: now, leave: now.Add(ownersChance)}
	case gap <= shortGap:
	case failed == 1 && gap < ownersChance && (w.flaky || now.Before(w.leave)):
		// A store that fails now and then would keep the claim from being taken over for ever.
	default:
		w.flaky = w.flaky || failed == 1
		if leave := now.Add(min(3*gap, ownersChance)); leave.After(w.leave) {
			w.leave = leave
		}
	}
	w.last = now
	return *w
}

// await waits for the end of a claim that is another's, and takes it over when that is
// allowed. With errConcurrentUpdate the claim has come to an end.
func (r *renewal) await(newest version, known record) result {
	r.waitFor(theClaim)
	nonce, start := known.Nonce, time.Now()
	seen := r.see(nonce, start, 0)
	waiting := r.waitingFor(known, newest, seen)
	waiting.Kind, waiting.sum = Waiting, sumOf(newest.Credential)
	r.tell(waiting)
	failed := 0
	for attempt := 1; ; attempt++ {
		left := patience - time.Since(seen.first)
		age, takeover := r.ageOf(known, newest, seen), r.provider.takeoverAfter(known)
		switch {
		case r.claimsChanged():
			return failure(errConcurrentUpdate) // found meanwhile in the journal of an exited process
		case known.disabled():
			return r.stop(newest.Credential, action{err: errDisabled, kind: Disabled})
		case takeover >= 0 && age >= takeover && !seen.last.Before(seen.leave):
			r.tell(Event{Kind: TakenOver, Duration: time.Since(start), ClaimAge: age})
			return r.spend(newest, spendOptions{known: known, maybeSpent: true})
		case r.provider.withinGrace(newest, known):
			return r.spend(newest, spendOptions{known: known, withinGrace: true, maybeSpent: true})
		case left <= 0 && (takeover < 0 || age+ownersChance < takeover || time.Since(start) > 2*patience):
			return failure(r.waitedInVain(newest.Credential, r.waitingFor(known, newest, seen)))
		case left <= 0:
			// Soon it may be taken over. Nobody waits for that.
			r.releaseWaiters(nil, errClaimed)
			left = maxPoll
		}
		select {
		case <-time.After(min(backoff(minPoll, maxPoll, attempt), left)):
		case <-r.closed.Done():
			return failure(errClosed)
		}
		began := time.Now()
		read, err := r.read(r.key)
		switch {
		case errors.Is(err, credential.ErrNotFound):
			return failure(r.notRead(err))
		case err != nil:
			failed++
			continue
		}
		changed := read.Version() != newest.Version()
		newest = read
		if changed {
			if tokenChanged(r.provider, newest.Credential, r.rejected) {
				return failure(errConcurrentUpdate)
			}
			if known, err = r.history(newest); err != nil || known.Nonce != nonce {
				return failure(errConcurrentUpdate)
			}
		}
		seen = r.see(nonce, began, failed)
		failed = 0
	}
}

// waitedInVain says that another's claim was not finished while requests waited.
func (r *renewal) waitedInVain(cred *credential.Credential, e Event) error {
	r.mu.Lock()
	s := r.state(r.key, time.Now())
	s.watch.times++
	e.Kind, e.Err, e.Count = WaitedInVain, errClaimed, s.watch.times
	s.cool(r.provider, cred, errClaimed, backoff(minCooldown, maxLook, s.watch.times), &e)
	r.mu.Unlock()
	r.tell(e)
	return errClaimed
}

// waitingFor is an event with what is known of the claim that is waited for.
func (r *renewal) waitingFor(claim record, newest version, seen watch) Event {
	now := time.Now()
	e := Event{Duration: now.Sub(seen.first), ClaimAge: max(r.ageOf(claim, newest, seen), 1)}
	if takeover := r.provider.takeoverAfter(claim); takeover >= 0 {
		e.TakeoverAt = now.Add(takeover - e.ClaimAge)
	}
	return e
}

// ageOf is how old a claim is: by the store's clock, or if that is not known, since it was
// first seen.
func (r *renewal) ageOf(claim record, newest version, seen watch) time.Duration {
	if age, _, ok := claim.age(newest.readAt); ok {
		return age
	}
	return seen.last.Sub(seen.first)
}

// withinGrace reports whether the provider surely takes a claimed token once more:
// its claim is so old that its owner has sent it, and its first claim so young that
// the grace lasts for longer than we may take to send it. All by the store's clock.
// Of a claim that nobody can read it is not known when the token was claimed first.
func (p *Provider) withinGrace(newest version, known record) bool {
	age, total, ok := known.age(newest.readAt)
	return p.Rotation == scheme.RotationGrace && ok && !known.isLost() && age > ownerSent && total+ownerSent < p.RotationGrace
}
