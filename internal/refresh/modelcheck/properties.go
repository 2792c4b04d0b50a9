package modelcheck

// property is what must hold. The search names the one that is broken.
type property uint8

const (
	none property = iota
	onceWhileKnown
	neverTwice
	noLoss
	noWayBack
	noneStuck
	oneAtATime
	goodReason
	operatorWins
	deletedStays
	disabledStays
)

func (p property) String() string {
	return [...]string{
		none:           "none",
		onceWhileKnown: "no token is sent a second time while an answer to the first sending can still be known",
		neverTwice:     "with takeover never no token is sent twice",
		noLoss:         "no token is lost but by a lost answer or a crash inside the published window",
		noWayBack:      "the document never goes back to an older token",
		noneStuck:      "no document stays stuck while somebody is alive to move it",
		oneAtATime:     "one process at a time is between claim and outcome",
		goodReason:     "reauthorization is asked for only if the newest token is lost",
		operatorWins:   "another token of an operator wins",
		deletedStays:   "a deleted document stays deleted",
		disabledStays:  "a disabled document stays disabled",
	}[p]
}

// mayKnow looks, when p sends its token, for somebody who may yet learn or hands
// on what an earlier sending of it was answered.
func (c *config) mayKnow(s *state, p int) property {
	t := s.replicas[p].token
	if c.grace && !s.graceOver.has(t) {
		return none // the server takes it again
	}
	for q, r := range s.replicas {
		if q != p && r.token == t && !r.forsaken && (r.stage == sent || r.stage == answered || r.stage == committing) {
			return onceWhileKnown
		}
	}
	for _, n := range s.notes {
		if n.kind == answerNote && n.token == t && !n.forsaken {
			return onceWhileKnown
		}
	}
	return none
}

// successorKnown reports whether somebody holds what t was exchanged for.
func (s *state) successorKnown(t token) bool {
	for _, r := range s.replicas {
		if r.token == t && !r.forsaken && (r.stage == answered || r.stage == committing) {
			return true
		}
	}
	for _, n := range s.notes {
		if n.kind == answerNote && n.token == t && !n.forsaken {
			return true
		}
	}
	return false
}

// newestIssued is the newest token that the server has issued to the line of the
// document's token.
func (s *state) newestIssued() token {
	t := t0
	if s.newest.token >= x0 {
		t = x0
	}
	for s.used.has(t) {
		t = t.next()
	}
	return t
}

// invariant checks one state.
func (c *config) invariant(s *state) property {
	t := s.newestIssued()
	away := s.newest.deleted || s.newest.disabled // until it comes back nobody misses a token
	if t != s.newest.token && !away && !s.lost.has(t) && !s.held(t) && !c.ignored(noLoss) {
		return noLoss
	}
	if c.grace || c.ignored(oneAtATime) {
		return none
	}
	var busy tokenSet
	for _, r := range s.replicas {
		if r.forsaken || r.stage < won || r.stage > answered {
			continue
		}
		if busy.has(r.token) {
			return oneAtATime
		}
		busy.add(r.token)
	}
	return none
}

// held reports whether somebody has t, in memory or in a journal.
func (s *state) held(t token) bool {
	for _, r := range s.replicas {
		if (r.stage == answered || r.stage == committing) && r.token.next() == t {
			return true
		}
	}
	for _, n := range s.notes {
		if n.kind == answerNote && n.token.next() == t {
			return true
		}
	}
	return false
}

// settled reports whether the document is where everybody may leave it: ready
// with the newest token, or up to a person with good reason.
func (c *config) settled(s *state) bool {
	if s.newest.deleted || s.newest.disabled {
		return true
	}
	newest := s.newestIssued()
	gone := s.newest.token != newest && s.lost.has(newest)
	switch st, _ := c.look(s); st {
	case ready:
		return s.newest.token == newest
	case reauthorize:
		return gone
	default:
		return c.outOfWorld(s) || (c.personNeeded(s) && (gone || s.newest.token == newest))
	}
}

// moved reports whether the document is in nobody's hands. It is all that can be
// asked for while stopped and dead processes stay so; with takeover never it
// waits for the stopped.
func (c *config) moved(s *state) bool {
	if c.never {
		for _, r := range s.replicas {
			if r.paused {
				return true
			}
		}
	}
	st, _ := c.look(s)
	return s.newest.deleted || s.newest.disabled || st == ready || st == reauthorize || c.outOfWorld(s) || c.personNeeded(s)
}

// personNeeded reports whether a claim may wait for a person: with takeover
// never, once the token may have been sent, or its claim cannot be read, or an
// operator has gone back to a token whose claim was nobody's any more.
func (c *config) personNeeded(s *state) bool {
	died := s.left.crashes < c.budget.crashes
	back := !s.newest.keyed() && c.writes&putOld != 0
	return c.never && (died || back || s.sent[s.newest.token] > 0 || c.shows(s, unreadable))
}

// outOfWorld reports whether nobody refreshes the document's token only because
// the model ends with it.
func (c *config) outOfWorld(s *state) bool {
	return s.newest.token.last(c.rotations) && s.newest.token == s.newestIssued()
}
