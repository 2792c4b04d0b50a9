package refresh

import (
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

// entry is a claim that is not settled: this process's own, or one that it found
// in the journal of a dead process.
type entry struct {
	journal.Note
	answer  *journal.Answer // nil if none is known
	noted   bool            // the answer is in a journal
	adopted bool            // of a dead process
	graced  bool            // made over another's claim, within the grace
	won     bool            // seen in the document
	sent    bool            // by this process
	again   bool            // the token may have been sent before
}

func (e *entry) key() credential.Key {
	return credential.Key{Provider: e.Provider, Tenant: credential.Tenant(e.Tenant)}
}

// track remembers e until it is settled. There may be two with one nonce: one
// claim that went from one journal to another. They are settled together.
func (c *Coordinator) track(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(e.key(), time.Now())
	s.entries = append(s.entries, e)
	s.recoverAt = time.Time{}
	c.unsettled[e.key()] = struct{}{}
}

// settle forgets e: nothing is to be done for it any more.
func (c *Coordinator) settle(e *entry) {
	c.notes.settle(e.Nonce)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(e.key(), time.Now())
	s.postponed, s.recoverAt = 0, time.Time{}
	s.entries = slices.DeleteFunc(s.entries, func(known *entry) bool { return known.Nonce == e.Nonce })
	if len(s.entries) == 0 {
		delete(c.unsettled, e.key())
	}
}

// entries returns what is not settled for key, with an answer or without one.
func (c *Coordinator) entries(key credential.Key, answered bool) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[key]
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.entries), func(e *entry) bool { return (e.answer != nil) != answered })
}

// hasAnswer reports whether an answer to a claim is among what is not settled.
func (c *Coordinator) hasAnswer(key credential.Key, nonce string) bool {
	return slices.ContainsFunc(c.entries(key, true), func(e *entry) bool { return e.Nonce == nonce })
}

// tracks reports whether a claim is among what is not settled.
func (c *Coordinator) tracks(key credential.Key, nonce string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[key]
	return s != nil && slices.ContainsFunc(s.entries, func(e *entry) bool { return e.Nonce == nonce })
}
