package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

const (
	// claimDeadline is how long a claim may take to get into the document.
	claimDeadline = 5 * time.Second

	minClaimPause = 50 * time.Millisecond
	maxClaimPause = time.Second
)

// claim notes in the journal that the refresh token in base is about to be spent,
// and writes the same into the document by check-and-set. Only one's own nonce in
// the document lets one go on: an answer that is not clear is settled by reading
// back, and by writing once more with the same nonce.
//
// over is what is known of the token, graced says that its claim is somebody
// else's who may still use it. The error is errMovedOn if somebody else was
// faster. An entry that is returned with an error owes a release.
func (c *Coordinator) claim(key credential.Key, p *Provider, base version, token string, over record, graced bool) (*entry, version, error) {
	if over.disabled() {
		return nil, base, errDisabled
	}
	began := deadline{start: time.Now(), after: claimDeadline}
	e := &entry{graced: graced, again: over.claimed() || over.Since != "", Note: journal.Note{
		Provider: key.Provider, Tenant: string(key.Tenant), Nonce: newNonce(),
		Fingerprint: fingerprint(token), BaseVersion: base.Version(),
	}}
	owner, err := c.notes.claim(e.Note)
	if err != nil {
		return nil, base, err
	}
	r := record{Status: statusSpending, Fingerprint: e.Fingerprint, Nonce: e.Nonce, Owner: owner, By: over.By}
	if !base.readAt.IsZero() {
		r.At = base.readAt.UTC().Format(time.RFC3339Nano)
	}
	// Somebody who had no answer may have used the token, though it is ready again.
	r.Since = cmp.Or(over.Since, r.At)
	if graced {
		r.Over = over.Nonce
	}
	document, err := r.in(base.Credential)
	if err != nil {
		c.notes.settle(e.Nonce)
		return nil, base, fmt.Errorf("%w: claim: %w", ErrFailed, err)
	}
	c.track(e)

	read := true // that the document is there, before each write
	for attempt := 1; ; attempt++ {
		var number uint64
		if read {
			number, err = c.write(key, document, base.Version())
		}
		switch {
		case err == nil:
			e.won = true
			cred, err := credential.New(credential.Document{Data: document, Version: number, WrittenAt: time.Now()})
			return e, version{cred, base.readAt}, err
		case errors.Is(err, credential.ErrReadOnly), errors.Is(err, credential.ErrInvalid):
			c.settle(e)
			return nil, base, fmt.Errorf("%w: claim: %w", ErrFailed, err)
		}
		// A conflict is not clear either: a proxy on the way may have repeated what
		// was applied.
		held, won, clear, readErr := c.readBack(p, key, e)
		read = readErr == nil
		switch {
		case errors.Is(readErr, credential.ErrNotFound):
			return e, base, readErr // to write again would undo the deletion
		case won:
			e.won = true
			return e, held, nil
		case clear:
			c.settle(e)
			return nil, held, errMovedOn
		case began.passed(), c.isClosed():
			return e, base, fmt.Errorf("%w: claim: %w", ErrFailed, err)
		}
		select {
		case <-time.After(backoff(minClaimPause, maxClaimPause, attempt)):
		case <-c.closed:
		}
	}
}

// readBack reports whether the document has the claim, and whether it is clear
// that it never will have it. After an error neither is.
func (c *Coordinator) readBack(p *Provider, key credential.Key, e *entry) (held version, won, clear bool, err error) {
	held, err = c.read(key)
	if err != nil {
		return held, false, false, err
	}
	known, err := c.standing(key, p.Scheme.OAuth2(), held)
	switch {
	case errors.Is(err, credential.ErrInvalid): // no refresh token
		return held, false, held.Version() != e.BaseVersion, nil
	case err != nil:
		return held, false, false, err
	}
	won = known.Nonce == e.Nonce
	return held, won, won || held.Version() != e.BaseVersion, nil
}

// write makes one check-and-set.
func (c *Coordinator) write(key credential.Key, document []byte, base uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return c.store.Put(ctx, key, document, base)
}

// release takes e out of the document, whose refresh token is as it was, or makes
// sure that e cannot get into it any more.
func (c *Coordinator) release(f *flight, p *Provider, key credential.Key, e *entry) error {
	if e.graced && e.won {
		// What it was made over may still be spent: it is left to takeover.
		c.settle(e)
		return nil
	}
	_, err := c.revise(f, p, key, revision{entry: e, waiting: c.owing(p), decide: func(held version, known record, _ bool) (document []byte, verdict, err error) {
		switch {
		case known.Nonce == e.Nonce && known.Over == "":
			document, err = e.released(known).in(held.Credential)
		case known.Nonce != e.Nonce && held.Version() == e.BaseVersion:
			document = held.Stored() // the same once more: the late write is against an old version then
		}
		return document, nil, err
	}})
	return err
}

// released is the record of a token that was not sent under e. If it may have been
// sent before, it says since when: see [manner].
func (e *entry) released(known record) record {
	r := record{Status: statusReady, Fingerprint: e.Fingerprint}
	if e.again || e.adopted || known.Since != known.At {
		r.Since = known.Since
	}
	return r.keeping(known)
}

// refuse writes down that the refresh token was refused for good, unless somebody
// moved on: with errMovedOn the document is somebody else's to judge.
func (c *Coordinator) refuse(f *flight, p *Provider, key credential.Key, e *entry) (*credential.Credential, error) {
	return c.revise(f, p, key, revision{entry: e, waiting: c.owing(p), decide: func(held version, known record, again bool) (document []byte, verdict, err error) {
		switch {
		case again && known.refused() && known.Fingerprint == e.Fingerprint:
			return nil, nil, nil // it is in
		case known.Nonce != e.Nonce || known.Status == statusDisabled:
			return nil, errMovedOn, nil
		}
		document, err = record{Status: statusReauthorize, Fingerprint: e.Fingerprint}.keeping(known).in(held.Credential)
		return document, nil, err
	}})
}

// owing logs that a claim cannot be ended.
func (c *Coordinator) owing(p *Provider) func(int, time.Duration, error) {
	return func(attempt int, pause time.Duration, err error) {
		p.logger().Warn("a claim stays in the document until the store takes its end",
			"provider", p.Name, "error", err, "attempt", attempt, "pause", pause)
	}
}
