package modelcheck

// act is what a running replica can do next.
func (x *stepper) act(p int) {
	switch x.from.replicas[p].stage {
	case idle:
		x.recover(p)
		x.begin(p)
	case claiming:
		x.readBack(p)
	case won:
		x.spend(p)
	case sent:
		x.waitForAnswer(p)
	case answered:
		x.journal(p)
	case committing:
		x.commit(p)
	case refused:
		x.refuse(p)
	case owing:
		x.release(p)
	}
}

// begin is R0 to R4: a request found its access token rejected.
func (x *stepper) begin(p int) {
	doc := x.from.newest
	if doc.deleted || doc.disabled || doc.token.last(x.rotations) {
		return
	}
	st, n := x.look(x.from)
	switch {
	case st == ready:
		x.claim(p, "claims", false)
	case st != spending:
	case x.flaw == expiringLock:
		x.claim(p, "claims, as the lock has expired,", false)
	case x.mayTakeOver(p):
		at := len(x.out)
		x.claim(p, "claims after takeover", false)
		for ; at < len(x.out); at++ {
			x.forsake(&x.out[at].state, p, doc.token)
		}
	}
	if st == spending && x.grace && n != unreadable && !x.from.graceOver.has(doc.token) {
		x.claim(p, "claims within the grace", true)
	}
}

// claim is R4: the note, and the check-and-set of spending with an own nonce.
// The reading before it and the write are one step: a check-and-set that
// succeeds finds what was read, and one that fails changes nothing.
func (x *stepper) claim(p int, what string, graced bool) {
	start := func(outcome string, cl class) *successor {
		a := x.add(p, what+outcome, cl)
		a.replicas[p] = replica{stage: claiming, token: a.newest.token, nonce: a.fresh(), graced: graced}
		a.note(p, a.newest.token, a.replicas[p].nonce, true)
		return a
	}
	a := start("", progress)
	x.land(a, p)
	a.replicas[p].stage = won
	if x.from.left.store == 0 {
		return
	}
	unclear := func(a *successor) {
		a.left.store--
		switch x.flaw {
		case ambiguousWin:
			a.replicas[p].stage = won
		case noReadBack:
			a.end(p)
		}
	}
	unclear(start("; the write is lost", fault))
	a = start("; the answer is lost", fault)
	x.land(a, p)
	unclear(a)
	a = start("; the write is late", fault)
	a.delay(a.of(a.replicas[p].token, spending, a.replicas[p].nonce))
	unclear(a)
}

// land applies the replica's claim.
func (x *stepper) land(a *successor, p int) {
	r := a.replicas[p]
	a.broken = x.put(&a.state, a.of(r.token, spending, r.nonce))
}

// readBack settles a claim with an unclear answer: only the own nonce in the
// document lets the replica go on.
func (x *stepper) readBack(p int) {
	s, r := x.from, x.from.replicas[p]
	switch own := s.own(p); {
	case s.newest.deleted && x.flaw != settledByDeletion:
		// It may come back with the claim in it.
	case s.newest.deleted:
		x.add(p, "finds its claim's document deleted and settles", progress).end(p)
	case x.shows(s, r.nonce):
		x.add(p, "reads its nonce back", progress).replicas[p].stage = won
	case own == nil || !own.base:
		x.add(p, "reads back another version and settles", progress).end(p)
	case r.late:
		x.add(p, "gives its claim up and owes a release", progress).replicas[p].stage = owing
	default:
		a := x.add(p, "writes its claim again", progress)
		x.land(a, p)
		a.replicas[p].stage = won
		if s.left.store == 0 {
			return
		}
		a = x.add(p, "writes its claim again; the answer is lost", fault)
		x.land(a, p)
		a.left.store--
	}
}

// spend is R5: the look at the clock and the request's first byte. They are one
// step: what a stop between the two can do is the published window.
func (x *stepper) spend(p int) {
	r := x.from.replicas[p]
	if r.late && x.flaw != noClockCheck {
		x.add(p, "sees its deadline passed and sends nothing", progress).replicas[p].stage = owing
		return
	}
	a := x.add(p, "sends the token", progress)
	a.broken = x.mayKnow(&a.state, p)
	if x.never {
		a.sent[r.token] = min(a.sent[r.token]+1, 3)
		if a.sent[r.token] > 1 {
			a.broken = neverTwice
		}
	}
	a.replicas[p].stage = sent
}

// waitForAnswer is a wait that ended without one: the claim and its note stay.
// The request may still reach the server.
func (x *stepper) waitForAnswer(p int) {
	r := x.from.replicas[p]
	if r.late {
		a := x.add(p, "gives up waiting", progress)
		a.under.add(r.token)
		a.rest(p)
	}
	if x.from.left.server == 0 {
		return
	}
	a := x.add(p, "gives up waiting; the request is slow", fault)
	a.left.server--
	a.under.add(r.token)
	a.rest(p)
	a = x.add(p, "has no answer; the request is lost", fault)
	a.left.server--
	a.rest(p)
}

// journal is R6 for new tokens. Until they are in the journal they can be lost.
func (x *stepper) journal(p int) {
	r := x.from.replicas[p]
	a := x.add(p, "journals the answer", progress)
	a.replicas[p].stage = committing
	if own := a.own(p); own != nil && x.flaw != commitBeforeJournal {
		own.kind, own.forsaken = answerNote, r.forsaken
	}
	lose := func(what string, cl class) *successor {
		a := x.add(p, what, cl)
		a.lost.add(r.token.next())
		a.rest(p)
		return a
	}
	if r.late {
		lose("gives up waiting; the answer is lost", progress)
	}
	if x.from.left.server > 0 {
		lose("has no answer; it is lost", fault).left.server--
	}
}

// commit is R7.
func (x *stepper) commit(p int) {
	s, r := x.from, x.from.replicas[p]
	switch doc := s.newest; {
	case x.flaw == blindCommit:
		x.write(p, "commits", version{token: r.token.next(), status: ready, about: r.token.next()})
	case doc.deleted && x.flaw != settledByDeletion:
		// The answer stays in the journal, in case the document comes back.
	case doc.deleted:
		x.add(p, "finds the document deleted and settles", progress).end(p)
	case doc.disabled && x.flaw == droppedWhenDisabled:
		x.add(p, "finds the document disabled and settles", progress).end(p)
	case doc.token == r.token.next():
		x.add(p, "finds its tokens in and settles", progress).end(p)
	case x.flaw != commitRepeated && s.had(r.token.next()):
		x.add(p, "finds that its tokens were in and that somebody went back, and settles", progress).end(p)
	case doc.token != r.token:
		x.add(p, "finds another token, which wins, and settles", progress).end(p)
	default:
		x.write(p, "commits", s.of(r.token.next(), ready, noNonce))
	}
}

// refuse is R6 for invalid_grant.
func (x *stepper) refuse(p int) {
	s, r := x.from, x.from.replicas[p]
	switch mine := x.shows(s, r.nonce) || x.flaw == refusalOverClaim; {
	case s.newest.deleted:
	case r.graced && x.flaw != graceForgotten:
		x.add(p, "was refused and leaves its claim, made over another, to takeover", progress).end(p)
	case s.newest.token != r.token, !mine:
		x.add(p, "was refused, finds that somebody moved on, and settles", progress).end(p)
	default:
		at := len(x.out)
		x.write(p, "was refused and asks for reauthorization", s.of(r.token, reauthorize, noNonce))
		for i := at; i < len(x.out); i++ {
			if s.successorKnown(r.token) {
				x.out[i].broken = goodReason
			}
		}
	}
}

// release takes the own claim out of the document, or makes sure that it cannot
// get into it any more.
func (x *stepper) release(p int) {
	s, r := x.from, x.from.replicas[p]
	st, n := x.look(s)
	switch own := s.own(p); {
	case s.newest.deleted && x.flaw != settledByDeletion:
	case s.newest.deleted:
		x.add(p, "owes a release to a deleted document and settles", progress).end(p)
	case st == spending && n == r.nonce && r.graced && x.flaw != graceForgotten:
		x.add(p, "leaves its claim, made over another, to takeover", progress).end(p)
	case st == spending && s.newest.token == r.token && (n == r.nonce || x.flaw == releaseOfAny):
		x.write(p, "releases", s.of(r.token, ready, noNonce))
	case own != nil && own.base:
		x.write(p, "rewrites the document unchanged", s.newest)
	default:
		x.add(p, "has nothing to release and settles", progress).end(p)
	}
}

// write is a check-and-set that ends the attempt and is repeated until it is in.
func (x *stepper) write(p int, what string, v version) {
	a := x.add(p, what, progress)
	a.broken = x.put(&a.state, v)
	a.end(p)
	if x.from.left.store == 0 {
		return
	}
	a = x.add(p, what+"; the answer is lost", fault)
	a.broken = x.put(&a.state, v)
	a.left.store--
	a = x.add(p, what+"; the write is late", fault)
	a.left.store--
	a.delay(v)
}

// delay lets a write land later, or never.
func (s *state) delay(v version) {
	for i := range s.late {
		if s.late[i].absent {
			s.late[i] = v
			return
		}
	}
	panic("modelcheck: too many late writes")
}
