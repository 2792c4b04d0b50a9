package renew

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// maxLookBack is how many older versions are looked at, at most.
const maxLookBack = 20

// version is one version of a document as it was read.
type version struct {
	*credential.Credential
	readAt time.Time // by the store's clock; zero if it does not say
}

// read reads the newest version, past the cache.
func (c *Coordinator) read(key credential.Key) (version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	doc, err := c.store.Get(ctx, key)
	if errors.Is(err, credential.ErrNotFound) {
		c.cache.Forget(key)
		return version{}, fmt.Errorf("%w: %w", errDeleted, err)
	}
	if err != nil {
		return version{}, fmt.Errorf("%w: read the credential: %w", ErrFailed, err)
	}
	cred, err := credential.New(doc)
	if err != nil {
		return version{}, fmt.Errorf("%w: read the credential: %w", ErrFailed, err)
	}
	return version{cred, doc.ReadAt}, nil
}

// older is an older version of a document.
type older struct {
	credential.Document
	credential *credential.Credential // nil: it cannot be read any more, or is none
	kept       bool                   // the store knows of it
	unreadable bool                   // it was deleted or destroyed
}

// readOlder reads an older version.
func (r *renewal) readOlder(number uint64) (older, error) {
	r.looked++
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	doc, err := r.store.GetVersion(ctx, r.key, number)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return older{Document: doc, kept: doc.Version != 0, unreadable: true}, nil
	case err != nil:
		return older{}, fmt.Errorf("%w: read an older version: %w", ErrFailed, err)
	}
	cred, _ := credential.New(doc) // Somebody's mistake tells nothing. It was written over since.
	return older{Document: doc, credential: cred, kept: true}, nil
}

// lookBack calls look for the versions before newest and after another one, the newest
// first, until it says that it has seen enough, or none is left.
func (r *renewal) lookBack(newest, after uint64, look func(older) (enough bool)) error {
	for number := max(newest, 1) - 1; number > after && newest-number <= maxLookBack; number-- {
		v, err := r.readOlder(number)
		if err != nil || !v.kept || look(v) {
			return err
		}
	}
	return nil
}

// history returns what is known of the refresh token in newest: what the nearest version
// says whose record speaks of it. Somebody who writes the document anew without the
// record, or goes back to an older token, does not erase a claim.
//
// Nor does somebody who deletes a version that held one. A version that cannot be read
// any more counts as a claim on the token if the version before it has the token, since a
// claim is written over such a version; not if that was deleted already by then, or if the
// token is known to have been refused before, since such a one is not claimed.
func (r *renewal) history(newest version) (record, error) {
	token, err := r.renewer.Spends(newest.Credential)
	if err != nil {
		return record{}, err
	}
	own, print := recordOf(newest.Credential), fingerprint(token)
	if own.Fingerprint == print {
		return own, nil
	}
	var known record
	var claim record // that nobody can read, unless the token was refused before it
	var lost *older  // what may have been a claim, if the version before it has the token
	var above *older // the version looked at before, if it cannot be read any more
	err = r.lookBack(newest.Version(), 0, func(v older) (enough bool) {
		if v.unreadable && r.options.Exclusive {
			return false // nobody else could have claimed it
		}
		if v.unreadable {
			if above == nil || !deletedBefore(v, *above) {
				lost = firstOf(lost, above)
			}
			above = &v
			return false
		}
		lost = firstOf(lost, above)
		speaks, holds := record{}, false
		if v.credential != nil {
			speaks, holds = recordOf(v.credential), r.holds(v.credential, token)
		}
		speaking := speaks.Fingerprint == print
		switch {
		case speaking && speaks.refused():
			known = speaks
		case lost != nil && holds && !claim.claimed():
			claim = lostClaim(*lost)
			known = claim
		case speaking && !claim.claimed():
			known = speaks
		}
		lost, above = nil, nil
		return speaking || claim.claimed() && !holds
	})
	return known.keeping(own), err
}

func firstOf(a, b *older) *older {
	if a != nil {
		return a
	}
	return b
}

// deletedBefore reports whether a version was deleted when the next was written, which
// then was no claim on its token.
func deletedBefore(v, next older) bool {
	return !v.DeletedAt.IsZero() && !next.WrittenAt.IsZero() && v.DeletedAt.Before(next.WrittenAt)
}

// lostNonce begins the nonce of a claim that nobody can read.
const lostNonce = "unreadable-"

func (r record) isLost() bool { return strings.HasPrefix(r.Nonce, lostNonce) }

// lostClaim stands for a version that cannot be read any more.
func lostClaim(v older) record {
	r := record{Status: statusSpending, Nonce: fmt.Sprintf("%s%d", lostNonce, v.Version)}
	if !v.WrittenAt.IsZero() {
		r.At = v.WrittenAt.UTC().Format(time.RFC3339Nano)
		r.Since = r.At
	}
	return r
}

// movedOn reports whether a version after one and before another, both exclusive, has
// another refresh token than the one that was spent.
func (r *renewal) movedOn(after, before uint64, spent string) (moved bool, err error) {
	err = r.lookBack(before, after, func(v older) bool {
		moved = v.credential != nil && !r.holds(v.credential, spent)
		return moved
	})
	return moved, err
}

// hasToken reports whether cred has a refresh token.
func (r *renewal) hasToken(cred *credential.Credential) bool {
	_, err := r.renewer.Spends(cred)
	return err == nil
}

// holds reports whether cred has that refresh token.
func (r *renewal) holds(cred *credential.Credential, token string) bool {
	held, err := r.renewer.Spends(cred)
	return err == nil && held == token
}
