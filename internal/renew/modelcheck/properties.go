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
	refusedStays
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
		refusedStays:   "a token that a readable version says was refused is not claimed again",
	}[p]
}

// mayKnow looks, when p sends its token, for somebody who may yet learn or hands
// on what an earlier sending of it was answered. What p knows itself, or would
// have learned had it listened, no published reason excuses.
func (c *config) mayKnow(s *state, p int) property {
	sender := s.replicas[p].attempt
	t := sender.token
	if c.grace && !s.graceOver.has(t) {
		return none // the server takes it again
	}
	if sender.excused && !sender.late {
		return none // what took its place did so in time: operators destroyed its claim
	}
	if s.unheard.has(t) {
		return onceWhileKnown
	}
	for q, a := range s.attempts() {
		under := a.stage == sent || (a.stage >= answered && a.answer.used())
		if a != &s.replicas[p].attempt && a.token == t && under && (q == p || !a.excused) {
			return onceWhileKnown
		}
	}
	for _, n := range s.journal {
		if n.kind.used() && n.token == t && (n.holder == uint8(p) || !n.excused) {
			return onceWhileKnown
		}
	}
	return none
}

// successorKnown reports whether somebody holds what t was exchanged for.
func (s *state) successorKnown(t token) bool {
	for _, a := range s.attempts() {
		if a.token == t && !a.excused && a.stage >= answered && a.answer == newTokens {
			return true
		}
	}
	for _, n := range s.journal {
		if n.kind == newTokens && n.token == t && !n.excused {
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
	for _, a := range s.attempts() {
		if a.excused || a.stage < won || a.stage > answered {
			continue
		}
		if busy.has(a.token) {
			return oneAtATime
		}
		busy.add(a.token)
	}
	return none
}

// held reports whether somebody has t, in memory or in a journal.
func (s *state) held(t token) bool {
	for _, a := range s.attempts() {
		if a.stage >= answered && a.answer == newTokens && a.token.next() == t {
			return true
		}
	}
	for _, n := range s.journal {
		if n.kind == newTokens && n.token.next() == t {
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
	switch c.look(s).status {
	case unkeyed, ready:
		return s.newest.token == newest
	case reauthorize:
		return gone
	default:
		return c.outOfWorld(s) || (c.personNeeded(s) && (gone || s.newest.token == newest))
	}
}

// moved reports whether the document is in nobody's hands. It is all that can be
// asked for while stopped and exited processes stay so; with takeover never it
// waits for the stopped, and for what exited ones recorded.
func (c *config) moved(s *state) bool {
	if c.never && s.waits() {
		return true
	}
	return s.newest.deleted || s.newest.disabled || c.look(s).status != spending || c.outOfWorld(s) || c.personNeeded(s)
}

// waits reports whether a stopped process, or an answer in an exited one's journal,
// may yet move the document.
func (s *state) waits() bool {
	for i := range s.replicas {
		if s.replicas[i].paused {
			return true
		}
	}
	for _, n := range s.journal {
		if n.kind > unanswered && n.orphaned {
			return true
		}
	}
	return false
}

// personNeeded reports whether a claim may wait for a person: with takeover
// never, once the token may have been sent and nobody recorded an answer; or if its
// claim cannot be read, and the token is none that an operator brought anew; or if
// an operator has gone back to a token whose claim was nobody's any more.
func (c *config) personNeeded(s *state) bool {
	t := s.newest.token
	back := !s.newest.says(t) && c.writes&putOld != 0
	return c.never && (back || s.sent[t] > 0 || s.maybeSpent.has(t) || (c.shows(s, unreadable) && s.stood()))
}

// outOfWorld reports whether nobody refreshes the document's token only because
// the model ends with it.
func (c *config) outOfWorld(s *state) bool {
	return s.newest.token.last(c.rotations) && s.newest.token == s.newestIssued()
}
