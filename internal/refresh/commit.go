package refresh

import (
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// commit brings what g granted into the store. fresh is g over the document that
// was claimed, nil if that is not known. Who waits for f gets it when it is
// stored, or after releaseAfter if that takes longer. If it is of no use to
// requests, unusable says why, and is returned in the end.
func (c *Coordinator) commit(f *flight, p *Provider, key credential.Key, e *entry, g *grant, fresh *credential.Credential, unusable error) (*credential.Credential, error) {
	if fresh != nil {
		if unusable == nil {
			c.succeeded(p, key, g, fresh)
			c.cache.SetNext(key, fresh)
		}
		timer := time.AfterFunc(releaseAfter, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			f.release(fresh, unusable)
		})
		defer timer.Stop()
	}
	r := c.revisionFor(p, key, e, g)
	r.waiting = func(attempt int, pause time.Duration, err error) {
		if fresh != nil && unusable == nil {
			c.cache.SetNext(key, fresh) // it may have been read anew from the store
		}
		c.writeDown(p, e)
		p.logger().Error("a refreshed credential waits for the store to take it",
			"provider", p.Name, "error", err, "in_journal", e.noted, "attempt", attempt, "pause", pause)
	}
	stored, err := c.revise(f, p, key, r)
	switch {
	case errors.Is(err, errMovedOn), errors.Is(err, errDeleted):
		return nil, err
	case err != nil:
		p.logger().Error("a refreshed credential was not stored", "provider", p.Name, "error", err, "in_journal", e.noted)
		if fresh == nil {
			return nil, err
		}
		return fresh, unusable
	case unusable != nil:
		return nil, c.fail(p, key, stored, unusable, 0)
	}
	if fresh == nil {
		c.succeeded(p, key, g, stored)
	}
	c.cache.SetNext(key, stored)
	p.logger().Info("credential refreshed", "provider", p.Name, "duration", time.Since(g.at), "from_journal", e.adopted)
	return stored, nil
}

// revisionFor merges g over the newest version, whatever it is. What somebody else
// wrote meanwhile stays: their refresh token wins over ours, with errMovedOn; other
// fields of theirs are kept.
func (c *Coordinator) revisionFor(p *Provider, key credential.Key, e *entry, g *grant) revision {
	o := p.Scheme.OAuth2()
	return revision{entry: e, decide: func(held version, known record, again bool) (document []byte, verdict, err error) {
		fresh, unusable := g.over(o, held.Credential)
		claimed := e.Nonce != "" && known.Nonce == e.Nonce
		switch {
		case fresh != nil && sameTokens(o, held.Credential, fresh) && !claimed:
			return nil, nil, nil // it is in
		case !holdsRefreshToken(o, held.Credential, g.spent):
			if fresh != nil && sameRefreshToken(o, held.Credential, fresh) {
				return nil, nil, nil // it is in, and somebody changed the rest
			}
			return nil, errMovedOn, nil
		case fresh == nil:
			return nil, unusable, nil
		}
		token, err := o.RefreshToken(fresh)
		if err != nil {
			return nil, nil, err
		}
		print := fingerprint(token)
		if token != g.spent && (again || e.adopted) {
			in, err := c.spoke(key, o, e.BaseVersion, held.Version(), print)
			if err != nil {
				return nil, nil, err
			}
			if in {
				return nil, errMovedOn, nil // somebody went back after it was in
			}
		}
		if token == g.spent && known.claimed() && (!claimed || known.Over != "") {
			// The token goes on, and so does the other's claim on it.
			return fresh.Stored(), nil, nil
		}
		r := record{Status: statusReady, Fingerprint: print}
		if token == g.spent && !g.whole && o.Takeover < 0 {
			// Its successor is lost, and nobody may send it again.
			r.Status = statusReauthorize
		}
		if e.Nonce == "" && recordOf(held.Credential) == (record{}) && c.name == "" {
			return fresh.Stored(), nil, nil // no claim was made
		}
		r = r.keeping(recordOf(held.Credential))
		r.By = c.name
		document, err = r.in(fresh)
		return document, nil, err
	}}
}

// writeDown puts the answer of e into the journal, if it is not there yet.
func (c *Coordinator) writeDown(p *Provider, e *entry) {
	if e.noted || e.answer == nil || e.Nonce == "" {
		return
	}
	err := c.notes.answer(e.Nonce, *e.answer)
	if e.noted = err == nil; !e.noted {
		p.logger().Error("new tokens are in memory only: the journal cannot be written", "provider", p.Name, "error", err)
	}
}

// commitAnswered takes up the commits that were not made: of dead processes, and
// this one's own. It returns errMovedOn if it changed anything.
func (c *Coordinator) commitAnswered(f *flight, p *Provider, key credential.Key) error {
	var moved error
	for _, e := range c.entries(key, true) {
		a, err := readAnswer(e.answer.Response)
		if err != nil {
			p.logger().Error("a journal has an answer that cannot be read", "provider", p.Name, "error", err)
			c.settle(e)
			continue
		}
		g, _ := newGrant(a, e.answer.SpentToken, e.answer.At)
		if g == nil {
			// Nothing in it to commit. The claim is as one without an answer.
			c.setAnswer(e, nil)
			continue
		}
		if _, err := c.commit(f, p, key, e, g, nil, nil); errors.Is(err, errPending) {
			return err
		}
		moved = errMovedOn
	}
	return moved
}

// setAnswer notes in memory what the endpoint answered to e; nil if there are no
// tokens in it.
func (c *Coordinator) setAnswer(e *entry, a *journal.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.answer = a
}

// newAnswer is what the journal gets.
func newAnswer(a *answer, g *grant) *journal.Answer {
	return &journal.Answer{SpentToken: g.spent, Response: a.raw(), At: g.at}
}

// succeeded notes that fresh came from the token endpoint.
func (c *Coordinator) succeeded(p *Provider, key credential.Key, g *grant, fresh *credential.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	s.failures, s.rest, s.postponed = 0, nil, 0
	s.setOwn(p, fresh)
	s.aheadAfter = now.Add(lookInterval)
	o := p.Scheme.OAuth2()
	if expiresAt, ok, _ := o.ExpiresAt(fresh); ok {
		if at := nextAhead(o, now, expiresAt); at.After(s.aheadAfter) {
			s.aheadAfter = at
		}
	}
	if g.whole {
		// A provider that gives no new refresh token, or the same one, does not rotate.
		c.lasting[p.Fingerprint] = holdsRefreshToken(o, fresh, g.spent)
	}
}

// sameTokens reports whether held has all that fresh got from the endpoint.
func sameTokens(o *scheme.OAuth2, held, fresh *credential.Credential) bool {
	for _, path := range []string{o.Fields.AccessToken, o.Fields.RefreshToken, o.Fields.ExpiresAt} {
		if a, b := held.Get(path), fresh.Get(path); a.Type != b.Type || a.String() != b.String() {
			return false
		}
	}
	return true
}

// sameRefreshToken reports whether both have one, and the same.
func sameRefreshToken(o *scheme.OAuth2, a, b *credential.Credential) bool {
	token, err := o.RefreshToken(b)
	return err == nil && holdsRefreshToken(o, a, token)
}

func holdsRefreshToken(o *scheme.OAuth2, c *credential.Credential, token string) bool {
	held, err := o.RefreshToken(c)
	return err == nil && held == token
}
