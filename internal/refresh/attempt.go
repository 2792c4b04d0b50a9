package refresh

import (
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

// manner is how a refresh token is to be spent.
type manner struct {
	known     record // what is known of the token
	unclaimed bool   // it lasts: nobody has to be kept from it
	graced    bool   // over somebody's claim who may still use it
	over      *entry // over a claim of our own, or of a dead process
	again     bool   // it may have been sent before, and nobody has the answer
}

// attempt spends the refresh token of base once: first all that can fail, then the
// claim, the token request, the journal and the commit. With errMovedOn the
// document is another one now.
func (c *Coordinator) attempt(f *flight, p *Provider, key credential.Key, base version, m manner) (*credential.Credential, error) {
	o := p.Scheme.OAuth2()
	token, err := o.RefreshToken(base.Credential)
	if err != nil {
		return nil, c.giveUp(p, key, base.Credential, fmt.Errorf("%w: %w", ErrReauthorizationRequired, err))
	}
	id, secret, err := o.Client(base.Credential)
	if err != nil {
		return nil, c.fail(p, key, base.Credential, fmt.Errorf("%w: %w", ErrFailed, err), 0)
	}
	allowed, probe := c.breakers.allow(o.TokenURL, time.Now())
	if !allowed {
		return nil, c.hold(p, key, base.Credential, errBreaker)
	}
	request, trouble := c.endpoint.connect(o, id, secret, token)
	if trouble != nil {
		c.breakers.report(o.TokenURL, trouble, probe, time.Now())
		return nil, c.fail(p, key, base.Credential, fmt.Errorf("%w: %w", ErrFailed, trouble), 0)
	}
	defer request.abandon()

	limit := deadline{start: time.Now(), after: spendDeadline}
	e := &entry{}
	if !m.unclaimed {
		var claimed version
		e, claimed, err = c.claim(key, p, base, token, m.known, m.graced)
		if err != nil {
			c.breakers.cancel(o.TokenURL, probe)
			request.abandon()
			return nil, c.notClaimed(f, p, key, base.Credential, e, err)
		}
		base = claimed
		if m.over != nil {
			c.settle(m.over) // its nonce is not in the document any more
		}
	}
	if !probe && c.breakers.opened(o.TokenURL) {
		// Many were rejected at the same time, and the first of them had no answer.
		return nil, c.withdraw(f, p, key, base.Credential, e, request)
	}
	if m.again {
		c.sentAgain(p)
	}

	g := &grant{spent: token, at: time.Now()}
	e.sent = true
	answer, trouble := request.send(limit)
	var unusable error
	var fresh *credential.Credential
	if answer != nil && answer.success() {
		// Into the journal before anybody looks at it.
		c.setAnswer(e, newAnswer(answer, g))
		c.writeDown(p, e)
		if g, trouble = newGrant(answer, token, g.at); g != nil {
			fresh, unusable = g.over(o, base.Credential)
		}
	} else if answer != nil {
		_, trouble = answer.classify()
	}
	c.breakers.report(o.TokenURL, trouble, probe, time.Now())
	if fresh != nil {
		c.noteUnclaimed(p, key, base.Credential, e, fresh, token)
		return c.commit(f, p, key, e, g, fresh, unusable)
	}
	if e.answer != nil {
		c.setAnswer(e, nil)
	}
	if trouble == nil {
		return nil, c.fail(p, key, base.Credential, unusable, 0) // the claim stays
	}
	return c.refusedOrSilent(f, p, key, base.Credential, e, trouble)
}

// withdraw ends an attempt whose token is not to be sent after all.
func (c *Coordinator) withdraw(f *flight, p *Provider, key credential.Key, cred *credential.Credential, e *entry, r *request) error {
	r.abandon()
	err := c.hold(p, key, cred, errBreaker)
	if e.Nonce != "" {
		c.letGo(f, err)
		_ = c.release(f, p, key, e)
	}
	return err
}

// notClaimed ends an attempt that did not get as far as the token request. A
// failure of the store starts no delay.
func (c *Coordinator) notClaimed(f *flight, p *Provider, key credential.Key, cred *credential.Credential, e *entry, err error) error {
	switch {
	case errors.Is(err, errMovedOn):
		return err
	case errors.Is(err, errNoNotes):
		p.logger().Error("no refresh without a journal: its answer could be lost", "provider", p.Name, "error", err)
		return c.hold(p, key, cred, err)
	}
	p.logger().Warn("refresh failed", "provider", p.Name, "error", err)
	if e != nil {
		c.letGo(f, err)
		_ = c.release(f, p, key, e)
	}
	return err
}

// refusedOrSilent ends an attempt that gave no tokens.
func (c *Coordinator) refusedOrSilent(f *flight, p *Provider, key credential.Key, cred *credential.Credential, e *entry, trouble *problem) (*credential.Credential, error) {
	err := fmt.Errorf("%w: %w", ErrFailed, trouble)
	switch {
	case trouble.permanent:
		err = fmt.Errorf("%w: %w", ErrReauthorizationRequired, trouble)
		switch {
		case e.Nonce == "":
			return c.refusedUnclaimed(p, key, cred, err)
		case e.graced:
			// The other may have been granted what this one was refused.
			c.settle(e)
			return nil, c.fail(p, key, cred, fmt.Errorf("%w: %w", ErrFailed, trouble), 0)
		}
		refused, verdict := c.refuse(f, p, key, e)
		if verdict != nil {
			return nil, verdict
		}
		return nil, c.giveUp(p, key, refused, err)
	case trouble.unspent:
		err = c.fail(p, key, cred, err, trouble.retryAfter)
		if e.Nonce != "" {
			c.letGo(f, err)
			_ = c.release(f, p, key, e)
		}
		return nil, err
	default:
		// Nobody knows whether the token is spent. The claim stays, and is claimed
		// over after the rest.
		return nil, c.fail(p, key, cred, err, 0)
	}
}

// refusedUnclaimed looks whether somebody else spent the token first and stored
// its successor.
func (c *Coordinator) refusedUnclaimed(p *Provider, key credential.Key, cred *credential.Credential, err error) (*credential.Credential, error) {
	token, _ := p.Scheme.OAuth2().RefreshToken(cred)
	if newest, readErr := c.read(key); readErr == nil &&
		(!holdsRefreshToken(p.Scheme.OAuth2(), newest.Credential, token) || differ(p, newest.Credential, cred)) {
		return nil, errMovedOn
	}
	return nil, c.giveUp(p, key, cred, err)
}

// noteUnclaimed writes down what a provider granted whose refresh tokens were
// thought to last, if it was a new one.
func (c *Coordinator) noteUnclaimed(p *Provider, key credential.Key, base *credential.Credential, e *entry, fresh *credential.Credential, spent string) {
	if e.Nonce != "" || holdsRefreshToken(p.Scheme.OAuth2(), fresh, spent) {
		return
	}
	note := journal.Note{
		Provider: key.Provider, Tenant: string(key.Tenant), Nonce: newNonce(),
		Fingerprint: fingerprint(spent), BaseVersion: base.Version(),
	}
	if _, err := c.notes.claim(note); err != nil {
		p.logger().Error("new tokens are in memory only: the journal cannot be written", "provider", p.Name, "error", err)
		return
	}
	e.Note = note
	c.track(e)
	c.writeDown(p, e)
}

// sentAgain counts a refresh token that may have been sent before, and whose
// answer nobody has.
func (c *Coordinator) sentAgain(p *Provider) {
	c.mu.Lock()
	c.again++
	total := c.again
	c.mu.Unlock()
	p.logger().Warn("a refresh token is sent again, as nobody has the answer to its first sending", "provider", p.Name, "total", total)
}
