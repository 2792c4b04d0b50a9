package renew

import (
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

const (
	// maxAttempts is how often in a row a store is asked to take an update that it does not
	// take.
	maxAttempts = 3

	minCommitPause = 100 * time.Millisecond
	maxCommitPause = 5 * time.Second
)

// change makes the new document of the newest version and of what is known of its refresh
// token. Without one there is nothing to write, and the error is what comes of the update;
// a storeError is one that may pass. again says that a write of it may be in already.
type change func(held version, known record, again bool) (document []byte, err error)

// storeError is one of the store in the middle of a change.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

// update brings the end of a claim into the document by check-and-set, and then settles
// the claim. It returns the document as written, or as found if there was nothing to
// write. With errPending the claim is not settled, and is to be taken up later.
func (r *renewal) update(claim *pendingClaim, change change) (*credential.Credential, error) {
	for attempt := 1; ; attempt++ {
		// Read first. It tells what became of the write before, whose answer may
		// be lost, and that nobody deleted the document, which a check-and-set
		// does not tell: a deletion leaves the version as it was.
		held, document, err := r.prepare(change, claim.written)
		if document == nil && (err == nil || !isStoreError(err)) {
			r.settle(claim)
			return held.Credential, err
		}
		var written *credential.Credential
		if err == nil {
			claim.written = true
			if written, err = r.write(document, held); err == nil {
				r.settle(claim)
				return written, nil
			}
		}
		switch {
		case errors.Is(err, credential.ErrReadOnly), errors.Is(err, credential.ErrInvalid) && document != nil:
			r.settle(claim) // it will never be taken
			return nil, err
		case errors.Is(err, credential.ErrConflict) && attempt <= rounds:
			continue
		case attempt >= maxAttempts, r.isClosed(), errors.Is(err, credential.ErrNotFound), errors.Is(err, credential.ErrInvalid):
			r.postpone(maxCommitPause)
			return nil, errors.Join(errPending, err)
		}
		select {
		case <-time.After(backoff(minCommitPause, maxCommitPause, attempt)):
		case <-r.closed.Done():
		}
	}
}

// prepare reads the newest version and makes the new document of it. An error that comes
// without a document is the change's own, or a storeError.
func (r *renewal) prepare(change change, again bool) (held version, document []byte, err error) {
	if held, err = r.read(r.key); err != nil {
		return held, nil, storeError{err}
	}
	before := r.looked
	known, err := r.history(held)
	lookedBack := r.looked != before
	if err != nil && !errors.Is(err, credential.ErrInvalid) { // no refresh token is no failure
		return held, nil, storeError{err}
	}
	looked := r.looked
	if document, err = change(held, known, again); document == nil || !lookedBack && looked == r.looked {
		return held, document, err
	}
	// Looking back took a while, and a deletion leaves the version as it was.
	now, err := r.read(r.key)
	switch {
	case err != nil:
		return held, nil, storeError{err}
	case now.Version() != held.Version():
		return held, nil, storeError{credential.ErrConflict}
	}
	return held, document, nil
}

func isStoreError(err error) bool {
	_, ok := errors.AsType[storeError](err)
	return ok
}

// unclaim takes a claim out of the document, whose refresh token is as it was, or makes
// sure that it cannot get into it any more.
func (r *renewal) unclaim(claim *pendingClaim) error {
	if claim.claimless {
		r.settle(claim)
		return nil
	}
	_, err := r.update(claim, func(held version, known record, _ bool) ([]byte, error) {
		switch {
		case known.Nonce == claim.Nonce && known.Over == "":
			return claim.unspent(known).in(held.Credential)
		case known.Nonce != claim.Nonce && held.Version() == claim.BaseVersion:
			return held.Stored(), nil // the same once more: the late write is against an old version then
		}
		// It is not there, or what it was made over may still be spent: that is left to
		// takeover.
		return nil, nil
	})
	return err
}

// unspent is the record of a token that was not spent under the claim. If it may have been
// sent before, it says since when.
func (p *pendingClaim) unspent(known record) record {
	says := record{Status: statusReady, Fingerprint: p.Fingerprint, Survived: known.Survived}
	if known.Since != known.At || p.maybeSpent && !p.adopted {
		says.Since = known.Since
	}
	return says.keeping(known)
}

// obstruct makes sure that a claim cannot get into the document any more. The error is
// errConcurrentUpdate then.
func (r *renewal) obstruct(claim *pendingClaim) error {
	if err := r.unclaim(claim); err != nil {
		return err
	}
	return errConcurrentUpdate
}

// refuse writes down that the refresh token was refused for good, or takes it out if the
// credential can be renewed without it, unless somebody moved on: with errConcurrentUpdate
// the document is to be looked at anew.
func (r *renewal) refuse(claim *pendingClaim) error {
	dropped := false
	_, err := r.update(claim, func(held version, known record, again bool) ([]byte, error) {
		switch {
		case again && known.refused() && known.Fingerprint == claim.Fingerprint:
			return nil, nil // it is in
		case known.Nonce != claim.Nonce || known.Over != "":
			return nil, errConcurrentUpdate
		}
		if without := r.withoutRefused(claim, held.Credential); without != nil {
			dropped = true
			return without, nil
		}
		return record{Status: statusReauthorize, Fingerprint: claim.Fingerprint}.keeping(known).in(held.Credential)
	})
	if err == nil && dropped {
		_, wrong := r.answerTo(claim, nil)
		r.tellDropped(wrong)
		return errConcurrentUpdate
	}
	return err
}

// dropRefused takes a refused token that was used without a claim out of a document, if the
// credential can be renewed without it.
func (r *renewal) dropRefused(claim *pendingClaim, held version, wrong *tokenrequest.Error) bool {
	without := r.withoutRefused(claim, held.Credential)
	if without == nil {
		return false
	}
	if _, err := r.write(without, held); err != nil {
		return errors.Is(err, credential.ErrConflict)
	}
	r.tellDropped(wrong)
	return true
}

// tellDropped tells that a token was refused, which is no reason to give up.
func (r *renewal) tellDropped(wrong *tokenrequest.Error) {
	e := eventOf(Failed, wrong)
	e.Err = fmt.Errorf("%w: %w", ErrFailed, wrong)
	r.tell(e)
}

// withoutRefused returns a document without the token that the answer to a claim refuses,
// nil if its scheme can do nothing without that.
func (r *renewal) withoutRefused(claim *pendingClaim, held *credential.Credential) []byte {
	if claim.answer == nil {
		return nil
	}
	response, err := responseIn(claim.answer)
	if err != nil {
		return nil
	}
	document, _ := r.renewer.Merge(held.Stored(), response.ForScheme())
	without, err := credential.New(credential.Document{Data: document})
	if err != nil || !r.hasToken(without) || r.holds(without, claim.answer.SpentToken) {
		return nil
	}
	token, _ := r.renewer.Spends(without)
	document, _ = record{Status: statusReady, Fingerprint: fingerprint(token)}.keeping(recordOf(held)).in(without)
	return document
}
