package renew

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

const (
	// claimDeadline is how long a claim may take to get into the document.
	claimDeadline = 5 * time.Second

	minClaimPause = 50 * time.Millisecond
	maxClaimPause = time.Second
)

// claim notes in the journal that the refresh token in base is about to be spent, and
// writes the same into the document by check-and-set, right after a read of it, since a
// deletion leaves the version as it was. Only one's own nonce in the document lets one go
// on: an answer that is not clear is settled by reading back, and by writing once more
// with the same nonce.
//
// It returns the document with the claim. The error is errConcurrentUpdate if somebody
// else was faster. A claim that comes with an error may yet get into the document.
func (r *renewal) claim(base version, token string, how spendOptions) (*pendingClaim, version, error) {
	if how.maybeSpent {
		how.known.Survived = "" // nobody knows whether it survived that, or why there was no answer
	}
	takeover := r.provider.takeoverAfter(record{Survived: how.known.Survived})
	if how.claimless {
		takeover = survivedTakeover // to send it again costs nothing
	}
	claim := &pendingClaim{
		token: token, claimless: how.claimless, withinGrace: how.withinGrace, maybeSpent: how.maybeSpent,
		limits: tokenrequest.Limits{Start: time.Now(), Send: sendWithin, Listen: listenFor(takeover)},
		ClaimRecord: journal.ClaimRecord{
			Provider: r.key.Provider, Tenant: string(r.key.Tenant), Fingerprint: fingerprint(token), BaseVersion: base.Version(),
		},
	}
	claim.Nonce = newNonce()
	if claim.claimless {
		r.track(claim)
		return claim, base, nil
	}
	owner, err := r.owner(claim.ClaimRecord)
	if err != nil {
		return nil, base, r.pauseShortly(base.Credential, Event{Kind: JournalFailed, Err: err}, 0)
	}
	r.track(claim)

	claim.limits.Start = time.Now()
	for attempt, tried := 1, false; ; attempt++ {
		held, err := r.read(r.key)
		switch {
		case err != nil:
		case held.Version() != base.Version(), !r.holds(held.Credential, token):
			known, unknown := r.history(held)
			switch {
			case unknown == nil && known.Nonce == claim.Nonce:
				r.tell(Event{Kind: Claimed})
				return claim, held, nil
			case unknown == nil, errors.Is(unknown, credential.ErrInvalid): // it has no refresh token
				r.settle(claim)
				return nil, held, errConcurrentUpdate
			}
			err = unknown
		case how.withinGrace && !r.provider.withinGrace(held, how.known):
			err = errTooLate // this process was stopped since it decided
		default:
			var claimed version
			if claimed, err = r.writeClaim(claim, owner, held, how); err == nil {
				r.tell(Event{Kind: Claimed})
				return claim, claimed, nil
			}
			tried = tried || !isRefusedWrite(err)
		}
		switch {
		case tried:
		case errors.Is(err, errTooLate):
			r.settle(claim)
			return nil, base, errConcurrentUpdate
		case isRefusedWrite(err):
			r.settle(claim)
			return nil, base, r.fail(base.Credential, Event{Kind: StoreFailed, Err: err})
		default: // nothing was written
			r.settle(claim)
			return nil, base, r.notRead(err)
		}
		if errors.Is(err, credential.ErrNotFound) || time.Since(claim.limits.Start) >= claimDeadline || r.isClosed() {
			return claim, base, r.notRead(err)
		}
		select {
		case <-time.After(backoff(minClaimPause, maxClaimPause, attempt)):
		case <-r.closed.Done():
		}
	}
}

// owner writes a claim into the journal, and returns whose it is.
func (r *renewal) owner(claim journal.ClaimRecord) (string, error) {
	if r.journal == nil {
		return r.id, nil
	}
	owner, err := r.journal.Claim(claim)
	if err != nil {
		return "", fmt.Errorf("%w: %w: %w", ErrFailed, errNoJournal, err)
	}
	return owner, nil
}

// isRefusedWrite reports whether the store surely did not make a write, and will not.
func isRefusedWrite(err error) bool {
	return errors.Is(err, credential.ErrReadOnly) || errors.Is(err, credential.ErrInvalid) || errors.Is(err, credential.ErrForbidden)
}

// writeClaim writes a claim over held.
func (r *renewal) writeClaim(claim *pendingClaim, owner string, held version, how spendOptions) (version, error) {
	says := record{
		Status: statusSpending, Fingerprint: claim.Fingerprint, Nonce: claim.Nonce, Owner: owner,
		Listens: claim.limits.Listen.String(), Survived: how.known.Survived, By: how.known.By,
	}
	if !held.readAt.IsZero() {
		says.At = stamp(held.readAt)
	}
	if r.provider.KeepAlive > 0 { // else a claim that came to nothing would look like a use
		says.Renewed = cmp.Or(how.known.Renewed, stamp(held.WrittenAt()))
	}
	// Somebody who had no answer may have used the token, though it is ready again.
	says.Since = cmp.Or(how.known.Since, says.At)
	if claim.withinGrace {
		says.Over = how.known.Nonce
	}
	document, err := says.in(held.Credential)
	if err != nil {
		return version{}, fmt.Errorf("%w: claim: %w", ErrFailed, err)
	}
	claimed, err := r.write(document, held)
	if err != nil {
		return version{}, fmt.Errorf("%w: claim: %w", ErrFailed, err)
	}
	return version{claimed, held.readAt}, nil
}

// write makes one check-and-set over held.
func (r *renewal) write(document []byte, held version) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	number, err := r.store.Put(ctx, r.key, document, held.Version())
	if err != nil {
		return nil, err
	}
	return credential.New(credential.Document{Data: document, Version: number, WrittenAt: time.Now()})
}

// abandon ends a claim whose token was not sent and never will be. Who waits is let go
// with err meanwhile.
func (r *renewal) abandon(claim *pendingClaim, err error) {
	if claim == nil {
		return
	}
	if !errors.Is(err, errConcurrentUpdate) { // then this flight goes on
		r.releaseWaiters(nil, err)
	}
	r.note(claim, unsent)
	_ = r.finish(claim)
}
