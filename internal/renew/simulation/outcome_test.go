package simulation

import (
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const (
	// patience is how long is waited, in the end, for what should not take so long.
	patience = 12 * time.Minute

	// adoption is how long it takes at least to find what is to be settled.
	adoption = 8 * time.Second
)

// settleDown waits until everybody is served, no document is stuck and the journals
// are empty.
func (w *world) settleDown() {
	for time.Since(w.calmAt) < adoption || time.Since(w.calmAt) < patience && w.missing() != "" {
		time.Sleep(500 * time.Millisecond)
	}
}

// missing says what is to come yet; empty if nothing is.
func (w *world) missing() string {
	for _, t := range w.tenants {
		switch {
		case w.ledger.unfinished(t.name):
			return t.name + " in a journal"
		case w.ledger.excused(t.name):
			continue
		case w.ledger.stuck(t.name):
			return t.name + " is claimed"
		}
		for slot := range slots {
			if _, ok := w.servedAfter(slot, t); !ok {
				return fmt.Sprintf("%s served by p%d", t.name, slot)
			}
		}
	}
	return ""
}

func (w *world) servedAfter(slot int, t *tenant) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	after, ok := w.seen[fmt.Sprint(slot, " ", t.name)]
	return after, ok
}

// excused reports whether nobody can be served, for a reason.
func (l *ledger) excused(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[name].excused()
}

func (a *account) excused() bool {
	newest := &a.versions[len(a.versions)-1]
	known := a.standing()
	switch {
	case a.deleted, newest.disabled():
		return true
	case known != nil && known.refused():
		return true // whether with a good reason was judged when it was written
	case a.rules.never() && a.unreadable():
		return true
	case a.rules.never() && a.rules.rotation != scheme.RotationNone && known != nil && known.claimed():
		return a.personNeeded(known)
	}
	return false
}

// personNeeded reports whether, with takeover never, a claim may wait for a person:
// its token may have been spent, for all that anybody can know.
func (a *account) personNeeded(claimed *document) bool {
	newest := a.versions[len(a.versions)-1]
	for _, s := range a.sendings[newest.refresh] {
		if !s.unlooked {
			return true
		}
	}
	c := a.claims[claimed.nonce]
	return c == nil || c.orphaned || !newest.speaks(newest.refresh)
}

// stuck reports whether the document waits for somebody.
func (l *ledger) stuck(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	return !a.excused() && a.claimed()
}

// awaited reports whether there is a claim on the document's token, or may be.
func (l *ledger) awaited(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	return a.claimed() || a.unreadable()
}

func (a *account) claimed() bool {
	known := a.standing()
	return known != nil && known.claimed()
}

// unreadable reports whether a version that cannot be read any more, and so may
// have been a claim, is nearer than what is known of the document's token.
func (a *account) unreadable() bool {
	token := a.versions[len(a.versions)-1].refresh
	for i := len(a.versions) - 1; i >= 0; i-- {
		switch v := &a.versions[i]; {
		case v.gone && a.tellsBelow(i, func(v *document) bool { return v.refresh == token }):
			return true
		case v.speaks(token):
			return false
		}
	}
	return false
}

// lateness is how long after the faults a tenant may be served last by a process:
// whatever cools down, and then so long. What the operators changed is noticed when the
// cache reads the store again.
const lateness = cacheTTL + 10*time.Second

// ownersChance is how long the store has to be in reach before a claim is taken over.
const ownersChance = 15 * time.Second

// allowance is how long after the faults a process may serve a tenant at the
// latest: when its rest is over, and if the document was claimed then, after
// takeover. With takeover never it may have to see, by its cache, what another process
// did that saw, by its own, what a person did.
func (w *world) allowance(slot int, t *tenant) time.Duration {
	w.mu.Lock()
	p := w.slots[slot]
	claimed := w.claimedAtCalm[t.name]
	w.mu.Unlock()
	allowed := lateness + max(0, p.restOver(t.name).Sub(w.calmAt))
	if claimed && !t.never() {
		allowed += t.takeover + ownersChance
	}
	if t.never() {
		allowed += cacheTTL
	}
	return allowed
}

// judgeServed judges who is served, while all processes still run.
func (w *world) judgeServed() {
	for _, t := range w.tenants {
		if w.ledger.stuck(t.name) {
			w.ledger.violate(t.name, noneStuck, "it is claimed in the end")
		}
		if !w.ledger.excused(t.name) {
			for slot := range slots {
				switch after, ok := w.servedAfter(slot, t); {
				case !ok:
					w.ledger.violate(t.name, served, "p%d never served it", slot)
				case after > w.allowance(slot, t):
					w.ledger.violate(t.name, served, "p%d served it after %v, and %v is allowed", slot, after, w.allowance(slot, t))
				}
			}
		}
	}
}

// judgeSettled judges what is left when no process runs any more.
func (w *world) judgeSettled() {
	for _, t := range w.tenants {
		w.ledger.judgeLosses(t.name)
	}
	for i, d := range w.directories {
		entries, err := leftover(d)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			w.trace.add("machine %d: left: %s %s %s", i, e.Tenant, short(e.Nonce), tokenIn(e.Answer))
			if !w.ledger.mayKeep(e.Tenant, e.Nonce) {
				w.ledger.violate(e.Tenant, journalsEmpty, "claim %s on machine %d, answered: %v", short(e.Nonce), i, e.Answer != nil)
			}
		}
	}
}

// judgeLosses looks for tokens that somebody had and that are nowhere now.
func (l *ledger) judgeLosses(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	for _, sendings := range a.sendings {
		for _, s := range sendings {
			had := s.heard && !s.crashed || s.journalled
			if s.child == "" || !had || s.forsaken || a.had(s.child) || a.movedAway(s) {
				continue
			}
			if a.deleted && !s.settled {
				continue // it waits for the document
			}
			l.broken(name, noLoss, "%s for %s, which %s sent at %v", s.child, s.token, s.by, s.at)
		}
	}
}

// movedAway reports whether the document has gone another way than that of s:
// an operator wrote another token, or, within the grace, somebody else's successor
// is in it.
func (a *account) movedAway(s *sending) bool {
	since := s.at
	if c := a.claims[s.nonce]; c != nil {
		since = c.writtenAt
	}
	for i := range a.versions {
		v := &a.versions[i]
		if v.at >= since && v.refresh != s.token {
			return v.by == operator || a.rules.grace > 0 || a.parents[v.refresh] == s.token
		}
	}
	return false
}
