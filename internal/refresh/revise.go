package refresh

import (
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	minCommitPause = 100 * time.Millisecond
	maxCommitPause = 5 * time.Second
)

// revision is a change of a document that ends a claim.
type revision struct {
	entry *entry

	// decide makes the new document of the newest version and of what is known of
	// its refresh token. Without one there is nothing to write, and verdict is what
	// revise returns. again says that a write of this revision may be in already. An
	// err is that of the store, or of a document that cannot be made.
	decide func(held version, known record, again bool) (document []byte, verdict, err error)

	// waiting, if set, is called before each pause for a store that does not take
	// the revision.
	waiting func(attempt int, pause time.Duration, err error)
}

// errPending says that a revision is to be taken up later: the document is deleted,
// or no credential now, and may come back as it was, or the coordinator is closed.
var errPending = errors.New("the document cannot be written now")

// revise brings a revision into the store by check-and-set, as often as it takes,
// and then settles its entry. It returns the document as written, or as found if
// there was nothing to write. With errPending the entry is not settled.
func (c *Coordinator) revise(f *flight, p *Provider, key credential.Key, r revision) (*credential.Credential, error) {
	for attempt := 1; ; attempt++ {
		// Read first. It tells what became of the write before, whose answer may
		// be lost, and that nobody deleted the document, which a check-and-set
		// does not tell: a deletion leaves the version as it was.
		held, err := c.read(key)
		if errors.Is(err, credential.ErrNotFound) || errors.Is(err, credential.ErrInvalid) {
			c.postpone(key, maxCommitPause)
			return nil, errors.Join(errPending, err)
		}
		var known record
		if err == nil {
			known, err = c.standing(key, p.Scheme.OAuth2(), held)
			if errors.Is(err, credential.ErrInvalid) {
				known, err = record{}, nil // no refresh token
			}
		}
		var document []byte
		if err == nil {
			var verdict error
			document, verdict, err = r.decide(held, known, attempt > 1)
			if document == nil && err == nil {
				c.settle(r.entry)
				return held.Credential, verdict
			}
		}
		var written uint64
		if err == nil {
			written, err = c.write(key, document, held.Version())
		}
		switch {
		case err == nil:
			c.settle(r.entry)
			return credential.New(credential.Document{Data: document, Version: written, WrittenAt: time.Now()})
		case errors.Is(err, credential.ErrReadOnly), errors.Is(err, credential.ErrInvalid):
			c.settle(r.entry) // it will never be taken
			return nil, err
		}
		if c.isClosed() {
			return nil, errors.Join(errPending, err)
		}
		if errors.Is(err, credential.ErrConflict) && attempt <= rounds {
			continue
		}
		c.pause(f, attempt, err, r.waiting)
	}
}

// pause waits before the next attempt to write. Who waits for f is let go: nobody
// knows how long this takes.
func (c *Coordinator) pause(f *flight, attempt int, err error, waiting func(int, time.Duration, error)) {
	pause := backoff(minCommitPause, maxCommitPause, attempt)
	f.settle()
	if waiting != nil {
		waiting(attempt, pause, err)
	}
	select {
	case <-time.After(pause):
	case <-c.closed:
	}
}

// postpone says when to look again at a document that cannot be written now, after
// longest at most. One that is deleted is looked at as often as a store that is
// down: when it is back, others may only wait for so long for what this process has.
func (c *Coordinator) postpone(key credential.Key, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if now.Before(s.recoverAt) {
		return // it was not this one's turn: a request came
	}
	s.postponed++
	s.recoverAt = now.Add(backoff(recoverInterval, longest, s.postponed))
}
