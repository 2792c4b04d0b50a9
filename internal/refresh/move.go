package refresh

import (
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

const (
	// patience is how long a claim of somebody else is waited for since it was first
	// seen. After that it is looked at, and not waited for.
	patience = maxWait

	// ownerDeadline is when the owner of a claim can no longer send its token: its
	// deadline, and a second for a store's clock that tells no less.
	ownerDeadline = spendDeadline + time.Second

	minPoll = 25 * time.Millisecond
	maxPoll = time.Second
)

// move does what is to be done next for the refresh token in newest: it spends it,
// waits for who spends it, or says why nothing is to be done. Without a rejected
// credential it ends what is not settled and does no more.
func (c *Coordinator) move(f *flight, p *Provider, key credential.Key, newest version, rejected *credential.Credential) (*credential.Credential, error) {
	o := p.Scheme.OAuth2()
	known, err := c.standing(key, o, newest)
	if err != nil && !errors.Is(err, credential.ErrInvalid) {
		c.postpone(key, maxCommitPause)
		p.logger().Warn("refresh failed", "provider", p.Name, "error", err)
		return nil, err
	}
	own, err := c.bare(f, p, key, known, newest)
	switch {
	case err != nil:
		return nil, err
	case own != nil && known.disabled():
		c.postpone(key, maxPostponed)
		return nil, c.hold(p, key, newest.Credential, errDisabled)
	case own != nil && o.Takeover < 0:
		c.postpone(key, maxPostponed)
		return nil, c.giveUp(p, key, newest.Credential, errPersonNeeded)
	case own != nil:
		return c.attempt(f, p, key, newest, manner{known: known, over: own, again: true})
	case rejected == nil:
		return newest.Credential, nil
	case known.disabled():
		return nil, c.hold(p, key, newest.Credential, errDisabled)
	case o.Rotation == scheme.RotationNone:
		return c.attempt(f, p, key, newest, manner{unclaimed: true})
	case known.refused():
		return nil, c.giveUp(p, key, newest.Credential, fmt.Errorf("%w: the refresh token was refused before", ErrReauthorizationRequired))
	case !known.claimed():
		return c.attempt(f, p, key, newest, manner{known: known, unclaimed: c.lasts(p), again: known.Since != ""})
	case c.exclusive && known.Owner != c.notes.id && o.Takeover < 0:
		return nil, c.giveUp(p, key, newest.Credential, errPersonNeeded)
	case c.exclusive && known.Owner != c.notes.id:
		// Nobody else has this store open: the owner is dead.
		return c.attempt(f, p, key, newest, manner{known: known, again: true})
	}
	return c.await(f, p, key, newest, known, rejected)
}

// bare goes through the claims of key without an answer. It returns the one that
// the document shows, whose end is up to this process: it is its own and fell
// silent, or that of a dead process. The others it settles, after making sure that
// they cannot get into the document any more.
func (c *Coordinator) bare(f *flight, p *Provider, key credential.Key, known record, newest version) (*entry, error) {
	var own *entry
	for _, e := range c.entries(key, false) {
		switch {
		case c.hasAnswer(key, e.Nonce):
			return nil, errMovedOn // its twin from another journal is committed first
		case known.Nonce == e.Nonce && !e.adopted && !e.sent, newest.Version() == e.BaseVersion:
			// Given up before its token was sent.
			if err := c.release(f, p, key, e); err != nil {
				return nil, err
			}
			return nil, errMovedOn
		case known.Nonce == e.Nonce && known.Over == "":
			own = e
		case known.Nonce == e.Nonce:
			// What it was made over may still be spent: it is left to takeover.
			c.settle(e)
		default:
			c.settle(e)
		}
	}
	return own, nil
}

// await waits for the end of a claim that is somebody else's, and takes it over
// when that is allowed. With errMovedOn the claim has come to an end.
func (c *Coordinator) await(f *flight, p *Provider, key credential.Key, newest version, known record, rejected *credential.Credential) (*credential.Credential, error) {
	o := p.Scheme.OAuth2()
	nonce := known.Nonce
	seenAt := c.firstSeen(key, nonce)
	start := seenAt
	for attempt := 1; ; attempt++ {
		age, waited := time.Since(seenAt), time.Since(start)
		switch {
		case c.tracks(key, nonce):
			return nil, errMovedOn // found meanwhile in the journal of its dead owner
		case known.disabled():
			return nil, c.hold(p, key, newest.Credential, errDisabled)
		case o.Takeover >= 0 && age >= o.Takeover:
			p.logger().Warn("a claim is taken over: its owner has not been heard of", "provider", p.Name, "after", age)
			return c.attempt(f, p, key, newest, manner{known: known, again: true})
		case c.lasts(p) && age >= ownerDeadline:
			return c.attempt(f, p, key, newest, manner{known: known, again: true})
		case withinGrace(o, newest, known):
			return c.attempt(f, p, key, newest, manner{known: known, graced: true, again: true})
		case waited >= patience:
			return nil, c.hold(p, key, newest.Credential, errClaimed)
		}
		select {
		case <-time.After(min(backoff(minPoll, maxPoll, attempt), patience-waited)):
		case <-c.closed:
			return nil, errClosed
		}
		read, err := c.read(key)
		switch {
		case errors.Is(err, credential.ErrNotFound):
			return nil, err
		case err != nil:
			seenAt = time.Now() // the owner could not end it either
			continue
		case read.Version() == newest.Version():
			newest, seenAt = read, c.firstSeen(key, nonce)
			continue
		}
		newest = read
		if differ(p, newest.Credential, rejected) {
			return nil, errMovedOn
		}
		if known, err = c.standing(key, o, newest); err != nil || known.Nonce != nonce {
			return nil, errMovedOn
		}
	}
}

// withinGrace reports whether the provider surely takes a claimed token once more:
// its claim is older than its owner's deadline, and its first claim so young that
// the grace lasts for longer than a deadline of ours. All by the store's clock.
func withinGrace(o *scheme.OAuth2, newest version, known record) bool {
	age, total, ok := known.age(newest.readAt)
	return o.Rotation == scheme.RotationGrace && ok && age > ownerDeadline && total+ownerDeadline < o.RotationGrace
}

// firstSeen returns when a claim was first seen by this process.
func (c *Coordinator) firstSeen(key credential.Key, nonce string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if s.seenNonce != nonce {
		s.seenNonce, s.seenAt = nonce, now
	}
	return s.seenAt
}

// unsee forgets when a claim was first seen.
func (c *Coordinator) unsee(key credential.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.states[key]; s != nil {
		s.seenNonce = ""
	}
}

// lasts reports whether the provider was seen to leave a refresh token as it is.
func (c *Coordinator) lasts(p *Provider) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lasting[p.Fingerprint]
}
