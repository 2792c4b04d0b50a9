package renew

import (
	"cmp"
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// commitFresh brings new tokens into the store that this flight obtained for base, the
// document with its claim. Who waits gets them when they are stored, or after
// releaseAfter if that takes longer.
func (r *renewal) commitFresh(claim *pendingClaim, base version, tokens *tokenResponse) result {
	fresh, unusable := tokens.over(r, base.Credential)
	if fresh != nil && unusable == nil {
		claim.fresh = fresh
		r.succeeded(fresh)
		r.cache.SetNext(r.key, fresh)
	}
	release := time.AfterFunc(releaseAfter, func() { r.releaseWaiters(fresh, unusable) })
	defer release.Stop()
	stored, err := r.commit(claim, tokens)
	switch {
	case errors.Is(err, errConcurrentUpdate), errors.Is(err, errDeleted):
		return failure(err)
	case errors.Is(err, errWithoutToken):
		return failure(errConcurrentUpdate)
	case err != nil && claim.fresh != nil:
		return result{credential: claim.fresh} // it is in the journal, and stored later
	case err != nil:
		return failure(err)
	}
	return result{credential: stored}
}

// commit brings new tokens into the store, over the newest version, whatever it is. What
// somebody else wrote meanwhile stays: their refresh token wins over ours, with
// errConcurrentUpdate; other fields of theirs are kept. It returns the document with them.
func (r *renewal) commit(claim *pendingClaim, tokens *tokenResponse) (*credential.Credential, error) {
	stored, err := r.update(claim, r.merge(claim, tokens))
	switch {
	case errors.Is(err, errPending):
		r.tell(Event{Kind: CommitDelayed, Err: err, FromJournal: claim.adopted})
		return nil, err
	case err != nil:
		return nil, err
	}
	if _, unusable := tokens.over(r, stored); unusable != nil {
		e := Event{Kind: Unusable, Err: unusable}
		if tokens.wrong != nil {
			e = eventOf(Unusable, tokens.wrong)
			e.Err = unusable
		}
		return nil, r.fail(stored, e)
	}
	r.succeeded(stored)
	r.cache.SetNext(r.key, stored)
	r.tell(Event{Kind: Refreshed, Duration: time.Since(tokens.response.At), FromJournal: claim.adopted})
	return stored, nil
}

// merge is the change of the document that brings new tokens in.
func (r *renewal) merge(claim *pendingClaim, tokens *tokenResponse) change {
	return func(held version, known record, again bool) ([]byte, error) {
		fresh, unusable := tokens.over(r, held.Credential)
		claimed := known.Nonce == claim.Nonce
		switch {
		case fresh != nil && r.sameTokens(held.Credential, fresh) && !claimed:
			return nil, nil // it is in
		case !r.hasToken(held.Credential):
			// Nobody brought another one: this may be somebody's mistake, or a configuration's.
			return nil, storeError{errWithoutToken}
		case !r.holds(held.Credential, tokens.spent):
			if fresh != nil && r.sameRefreshToken(held.Credential, fresh) {
				return nil, nil // it is in, and somebody changed the rest
			}
			return nil, errConcurrentUpdate
		case fresh == nil:
			return nil, unusable
		}
		token, err := r.renewer.Spends(fresh)
		if err != nil {
			return nil, err
		}
		stays := token == tokens.spent
		if !stays && (again || claim.adopted) {
			moved, err := r.movedOn(claim.BaseVersion, held.Version(), tokens.spent)
			if err != nil {
				return nil, storeError{err}
			}
			if moved {
				return nil, errConcurrentUpdate // perhaps it was in, and somebody went back
			}
		}
		if stays && known.claimed() && (!claimed || known.Over != "") {
			// The token goes on, and so does the other's claim on it.
			return fresh.Stored(), nil
		}
		if claim.claimless && recordOf(held.Credential) == (record{}) && r.options.Name == "" {
			return fresh.Stored(), nil // no claim was made
		}
		says := record{Status: statusReady, Fingerprint: fingerprint(token)}
		switch {
		case stays && tokens.complete:
			says.Survived = yes
		case stays && r.provider.Takeover < 0 && r.provider.Rotation != scheme.RotationNone:
			// Its successor is lost, and nobody may send it again.
			says.Status = statusReauthorize
		case stays:
			says.Since = known.Since // its successor is lost: what grace it has runs since then
		}
		if r.provider.KeepAlive > 0 && tokens.complete {
			says.Renewed = stamp(cmp.Or(held.readAt, time.Now()))
		}
		says = says.keeping(recordOf(held.Credential))
		says.By = r.options.Name
		return says.in(fresh)
	}
}

// succeeded notes that fresh came from the token endpoint.
func (r *renewal) succeeded(fresh *credential.Credential) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s := r.state(r.key, now)
	s.failures, s.noAnswer, s.cooldown, s.postponed = 0, false, nil, 0
	s.setOwn(r.provider, fresh)
	s.aheadAfter = now.Add(aheadPause)
	if expiresAt, ok := r.renewer.ExpiresAt(fresh); ok {
		if at := r.provider.nextAhead(now, expiresAt); at.After(expiresAt.Add(-r.provider.RefreshAhead)) {
			s.aheadAfter = at
		}
	}
}

// sameTokens reports whether held has all that fresh got from the endpoint.
func (r *renewal) sameTokens(held, fresh *credential.Credential) bool {
	expiresAt, known := r.renewer.ExpiresAt(held)
	freshExpiresAt, freshKnown := r.renewer.ExpiresAt(fresh)
	return known == freshKnown && expiresAt.Equal(freshExpiresAt) && !tokenChanged(r.provider, fresh, held) &&
		r.sameRefreshToken(held, fresh)
}

// sameRefreshToken reports whether both have one, and the same.
func (r *renewal) sameRefreshToken(a, b *credential.Credential) bool {
	token, err := r.renewer.Spends(b)
	return err == nil && r.holds(a, token)
}
