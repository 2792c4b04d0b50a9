package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

const (
	minCommitPause = 100 * time.Millisecond
	maxCommitPause = 5 * time.Second
)

// commit brings fresh, which g made of base, into the store. Who waits for f gets
// it when it is there, or after releaseAfter if that takes longer. If it is of no
// use to requests, unusable says why, and is returned in the end.
func (c *Coordinator) commit(f *flight, p *Provider, key credential.Key, g grant, base, fresh *credential.Credential, unusable error) (*credential.Credential, error) {
	if unusable == nil {
		c.succeeded(p, key, fresh)
		c.cache.Set(key, fresh)
	}
	timer := time.AfterFunc(releaseAfter, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		f.release(fresh, unusable)
	})
	defer timer.Stop()

	stored, err := c.put(f, p, key, g, base, fresh, unusable == nil)
	switch {
	case err != nil:
		return stored, err
	case unusable != nil:
		return nil, c.fail(p, key, stored, unusable, 0)
	}
	c.cache.Set(key, stored)
	p.logger().Info("credential refreshed", "provider", p.Name, "duration", time.Since(g.at))
	return stored, nil
}

// put writes fresh by check-and-set until it is in, and returns it as stored.
// What somebody else wrote since base was read stays: their refresh token wins
// over ours, with errMovedOn; other fields of theirs are kept; a document that
// they deleted stays deleted.
func (c *Coordinator) put(f *flight, p *Provider, key credential.Key, g grant, base, fresh *credential.Credential, usable bool) (*credential.Credential, error) {
	o := p.Scheme.OAuth2()
	for attempt := 1; ; attempt++ {
		// Read first. It tells what became of the write before, whose answer may
		// be lost, and that nobody deleted the document, which a check-and-set
		// does not tell: a deletion leaves the version as it was.
		held, err := c.read(key)
		switch {
		case errors.Is(err, credential.ErrNotFound), errors.Is(err, credential.ErrInvalid):
			return nil, err
		case err != nil:
			c.waitForStore(f, p, attempt, err)
		case sameTokens(o, held, fresh):
			return held, nil
		case !holdsRefreshToken(o, held, g.spent):
			return held, errMovedOn
		default:
			if held.Version() != base.Version() {
				base = held
				if fresh, err = g.over(o, held); fresh == nil {
					return nil, err
				}
			}
			var version uint64
			version, err = c.write(key, fresh, base.Version())
			switch {
			case err == nil:
				return stored(fresh, version)
			case errors.Is(err, credential.ErrReadOnly), errors.Is(err, credential.ErrInvalid):
				return c.lose(p, fresh, err)
			case !errors.Is(err, credential.ErrConflict) || attempt > rounds:
				c.waitForStore(f, p, attempt, err)
			}
		}
		if c.isClosed() && attempt > 1 {
			return c.lose(p, fresh, err)
		}
		if usable {
			c.cache.Set(key, fresh) // it may have been read anew from the store
		}
	}
}

func (c *Coordinator) write(key credential.Key, fresh *credential.Credential, version uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	return c.store.Put(ctx, key, fresh.Stored(), version)
}

func stored(fresh *credential.Credential, version uint64) (*credential.Credential, error) {
	return credential.New(credential.Document{Data: fresh.Stored(), Version: version, WrittenAt: time.Now()})
}

// waitForStore pauses before the next attempt.
func (c *Coordinator) waitForStore(f *flight, p *Provider, attempt int, err error) {
	f.settle() // nobody knows how long this takes
	pause := backoff(minCommitPause, maxCommitPause, attempt)
	p.logger().Error("a refreshed credential is in memory only until the store takes it",
		"provider", p.Name, "error", err, "attempt", attempt, "pause", pause)
	select {
	case <-time.After(pause):
	case <-c.closed:
	}
}

// lose gives up: fresh serves as long as it is in memory.
func (c *Coordinator) lose(p *Provider, fresh *credential.Credential, err error) (*credential.Credential, error) {
	p.logger().Error("a refreshed credential was not stored and is lost when the process ends", "provider", p.Name, "error", err)
	return fresh, nil
}

// succeeded notes that fresh came from the token endpoint.
func (c *Coordinator) succeeded(p *Provider, key credential.Key, fresh *credential.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	s.failures, s.rest = 0, nil
	s.setOwn(p, fresh)
	s.aheadAfter = now.Add(lookInterval)
	o := p.Scheme.OAuth2()
	if expiresAt, ok, _ := o.ExpiresAt(fresh); ok {
		if at := nextAhead(o, now, expiresAt); at.After(s.aheadAfter) {
			s.aheadAfter = at
		}
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

func holdsRefreshToken(o *scheme.OAuth2, c *credential.Credential, token string) bool {
	held, err := o.RefreshToken(c)
	return err == nil && held == token
}
