package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// maxLookBack is how many older versions are looked at, at most.
const maxLookBack = 20

// version is one version of a document as it was read.
type version struct {
	*credential.Credential
	readAt time.Time // by the store's clock; zero if it does not say
}

// read reads the newest version, past the cache. If there is none to read, a claim
// in it has to be waited for anew: its owner could not end it either.
func (c *Coordinator) read(key credential.Key) (version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	doc, err := c.store.Get(ctx, key)
	if err != nil {
		c.unsee(key)
	}
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

// readOlder reads an older version. It returns nil for the credential if it is
// deleted or no credential, and for the document's version 0 if the store knows of
// none.
func (c *Coordinator) readOlder(key credential.Key, number uint64) (*credential.Credential, credential.Document, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	doc, err := c.store.GetVersion(ctx, key, number)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return nil, doc, nil
	case err != nil:
		return nil, doc, fmt.Errorf("%w: read an older version: %w", ErrFailed, err)
	}
	cred, err := credential.New(doc)
	if err != nil {
		// Somebody's mistake. It was written over since, and tells nothing.
		return nil, credential.Document{Version: number, WrittenAt: doc.WrittenAt, Data: doc.Data}, nil
	}
	return cred, doc, nil
}

// standing returns what is known of the refresh token in newest: what the nearest
// version says whose record speaks of it. Somebody who writes the document anew
// without the record, or goes back to an older token, does not erase a claim.
//
// A deleted version on the way may have been a claim. Since a claim is written
// over a version with the same token, it was none if the version before it has
// another one, or was deleted already.
func (c *Coordinator) standing(key credential.Key, o *scheme.OAuth2, newest version) (record, error) {
	token, err := o.RefreshToken(newest.Credential)
	if err != nil {
		return record{}, err
	}
	own := recordOf(newest.Credential)
	print := fingerprint(token)
	if own.Fingerprint == print {
		return own, nil
	}
	none := record{}.keeping(own)

	var unreadable *credential.Document // the version looked at before, if it was deleted
	for number := max(newest.Version(), 1) - 1; number > 0 && newest.Version()-number <= maxLookBack; number-- {
		older, doc, err := c.readOlder(key, number)
		switch {
		case err != nil:
			return record{}, err
		case older != nil:
			held, err := o.RefreshToken(older)
			if unreadable != nil && err == nil && held == token {
				return claimOfNobody(unreadable).keeping(own), nil
			}
			unreadable = nil
			if r := recordOf(older); r.Fingerprint == print {
				r.Status = withoutDisabled(r.Status)
				r.Disabled = ""
				return r.keeping(own), nil
			}
		case doc.Version == 0: // from here on nothing is kept
			if unreadable != nil {
				return claimOfNobody(unreadable).keeping(own), nil
			}
			return none, nil
		case doc.Data != nil:
			unreadable = nil
		case c.exclusive:
			// Nobody else could have claimed it.
		case unreadable != nil && !deletedBefore(doc, unreadable):
			return claimOfNobody(unreadable).keeping(own), nil
		default:
			unreadable = &doc
		}
	}
	return none, nil
}

// withoutDisabled is the status without what an operator said in an older version.
func withoutDisabled(status string) string {
	if status == statusDisabled {
		return ""
	}
	return status
}

// deletedBefore reports whether a version was deleted when the next was written.
func deletedBefore(doc credential.Document, next *credential.Document) bool {
	return !doc.DeletedAt.IsZero() && !next.WrittenAt.IsZero() && doc.DeletedAt.Before(next.WrittenAt)
}

// claimOfNobody stands for a version that cannot be read any more.
func claimOfNobody(doc *credential.Document) record {
	return record{Status: statusSpending, Nonce: fmt.Sprintf("unreadable-%d", doc.Version)}
}

// spoke reports whether a version between two others, exclusive, has the refresh
// token with that fingerprint or says something of it: whether it was in the
// document.
func (c *Coordinator) spoke(key credential.Key, o *scheme.OAuth2, after, before uint64, print string) (bool, error) {
	for number := before - 1; number > after && before-number <= maxLookBack; number-- {
		older, doc, err := c.readOlder(key, number)
		switch {
		case err != nil:
			return false, err
		case older != nil && (recordOf(older).Fingerprint == print || holdsFingerprint(o, older, print)):
			return true, nil
		case older == nil && doc.Version == 0:
			return false, nil
		}
	}
	return false, nil
}

func holdsFingerprint(o *scheme.OAuth2, cred *credential.Credential, print string) bool {
	token, err := o.RefreshToken(cred)
	return err == nil && fingerprint(token) == print
}
