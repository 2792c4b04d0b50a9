package modelcheck

// act is what a running replica can do next.
func (x *stepper) act(p int) {
	switch r := x.from.replicas[p]; r.stage {
	case idle:
		if x.stepwise {
			x.add(p, "reads the document", progress).replicas[p].attempt = attempt{stage: looked}
			break
		}
		x.decide(p)
	case looked:
		x.decideStepwise(p)
	case claiming:
		x.readBack(p)
	case won:
		x.spend(p)
	case sent:
		x.listen(p, foreground)
		x.listenInBackground(p)
	case answered:
		x.journal(p, foreground)
	case committing:
		x.commit(p)
	case refused:
		x.refuse(p)
	case releasing:
		x.release(p)
	}
	switch x.from.replicas[p].back.stage {
	case sent:
		x.listen(p, background)
	case answered:
		x.journal(p, background)
	}
	x.adopt(p)
}

// decide is what comes of one look at the document.
func (x *stepper) decide(p int) {
	x.recover(p)
	x.begin(p)
}

// decideStepwise is the same, with time between the look and what follows. By
// what is old nobody decides: whatever is written fails, and what needs no write
// needs another look. The newest is looked at once more before a claim is written,
// as a deletion leaves the version as it is.
func (x *stepper) decideStepwise(p int) {
	if !x.from.replicas[p].stale {
		x.decide(p)
		return
	}
	x.add(p, "finds that the document has changed", progress).rest(p)
	if x.flaw != staleAdoption {
		return
	}
	for i, n := range x.from.journal {
		if n.kind == unanswered && n.orphaned && n.holder == uint8(p) && n.unseen {
			x.take(p, i, "finds a claim in a journal that it has not seen in the document", releasing)
		}
	}
}

// begin is R0 to R4: a request found its access token rejected.
func (x *stepper) begin(p int) {
	s := x.from
	doc := s.newest
	unread := x.flaw == claimUnread && s.replicas[p].stage == looked
	if (doc.deleted && !unread) || doc.disabled || doc.token.last(x.rotations) || x.hasClaim(p) {
		return
	}
	switch known := x.look(s); {
	case known.status.free() && x.flaw == survivalByProvider && s.neighbour:
		a := x.add(p, "needs no claim, as it thinks", progress)
		a.replicas[p].attempt = attempt{stage: won, token: doc.token}
	case known.status.free():
		x.claim(p, "claims", false)
	case known.status != spending:
	case x.flaw == expiringLock:
		x.claim(p, "claims, as the lock has expired,", false)
	default:
		if x.mayTakeOver(p, known) {
			at := len(x.out)
			x.claim(p, "claims after takeover", false)
			for ; at < len(x.out); at++ {
				x.excuseTakeover(&x.out[at].state, doc.token)
			}
		}
		if x.grace && known.nonce != unreadable && !s.graceOver.has(doc.token) {
			at := len(x.out)
			x.claim(p, "claims within the grace", true)
			for ; at < len(x.out); at++ {
				x.out[at].expire(p, doc.token)
			}
		}
	}
}

// expire ends the time to send for everybody else who has a claim on the token:
// the newest is as old as that when somebody claims over it within the grace.
func (s *state) expire(p int, t token) {
	for q, a := range s.attempts() {
		if q != p && a.token == t && a.stage <= won {
			a.late = true
		}
	}
}

// claim is R4: the record in the journal, and the check-and-set of spending with an own nonce.
// The reading before it and the write are one step: a check-and-set that
// succeeds finds what was read, and one that fails changes nothing.
func (x *stepper) claim(p int, what string, withinGrace bool) {
	start := func(outcome string, cl class) *successor {
		a := x.add(p, what+outcome, cl)
		a.replicas[p].attempt = attempt{stage: claiming, token: a.newest.token, nonce: a.fresh(), withinGrace: withinGrace}
		a.addRecord(p, a.newest.token, a.replicas[p].nonce)
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
	a.delay(x.claimed(&a.state, p))
	unclear(a)
}

// land applies the replica's claim.
func (x *stepper) land(a *successor, p int) { a.broken = x.put(&a.state, x.claimed(&a.state, p)) }

// claimed is the version with the replica's claim.
func (c *config) claimed(s *state, p int) version {
	v := s.of(s.replicas[p].token, spending, s.replicas[p].nonce)
	v.survived = c.look(s).survived
	return v
}

// readBack settles a claim with an unclear answer: only the own nonce in the
// document lets the replica go on.
func (x *stepper) readBack(p int) {
	s, r := x.from, x.from.replicas[p]
	x.slow(p)
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
		x.cancel(p, "gives its claim up and owes a release")
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

// slow is a store that takes the time until the token must not be sent any more.
func (x *stepper) slow(p int) {
	if !x.from.replicas[p].late {
		x.add(p, "is kept waiting past its deadline to send", progress).replicas[p].late = true
	}
}

// cancel ends an attempt whose token has surely not been sent, and records that.
func (x *stepper) cancel(p int, what string) {
	a := x.add(p, what, progress)
	a.replicas[p].stage, a.replicas[p].late = releasing, false
	if own := a.own(p); own != nil && x.flaw != unspentForgotten {
		own.kind = tokenUnused
	}
}

// spend is R5: the look at the clock and the request's first byte. They are one
// step: what a stop between the two can do is the published window.
func (x *stepper) spend(p int) {
	r := x.from.replicas[p]
	x.slow(p)
	if r.late && x.flaw != noClockCheck {
		x.cancel(p, "sees its deadline passed and sends nothing")
		return
	}
	a := x.add(p, "sends the token", progress)
	a.broken = x.mayKnow(&a.state, p)
	if x.never && !r.excused {
		a.sent[r.token] = min(a.sent[r.token]+1, 3)
		if a.sent[r.token] > 1 {
			a.broken = neverTwice
		}
	}
	a.replicas[p].stage, a.replicas[p].late = sent, false
}

// listen is a wait that ends without an answer: the connection breaks, or others
// may soon take over. The claim and its record stay, and the request may still reach
// the server.
func (x *stepper) listen(p int, in slot) {
	r := x.from.replicas[p].at(in)
	cease := func(what string, cl class) *successor {
		a := x.add(p, what, cl)
		a.under.add(r.token)
		a.leave(p, in)
		return a
	}
	if r.late {
		cease("has listened for long enough", progress)
	}
	if x.flaw == oneDeadline {
		cease("listens no longer than it could send", progress).unheard.add(r.token)
	}
	if x.from.left.server == 0 {
		return
	}
	cease("has no answer; the request is slow", fault).left.server--
	a := x.add(p, "has no answer; the request is lost", fault)
	a.left.server--
	a.leave(p, in)
}

// listenInBackground leaves the wait for an answer to the background once there may be other
// work: somebody wrote another token into the document.
func (x *stepper) listenInBackground(p int) {
	r := x.from.replicas[p]
	other := r.token != x.from.newest.token || x.flaw == ownClaimsByNonce
	if r.back.stage != exited || !other || x.shows(x.from, r.nonce) {
		return
	}
	a := x.add(p, "listens on in the background", progress)
	a.replicas[p].back = r.attempt
	a.rest(p)
}

// journal is R6: whatever was heard is recorded before it is acted by. Until new
// tokens are in the journal they can be lost.
func (x *stepper) journal(p int, in slot) {
	r := x.from.replicas[p].at(in)
	a := x.add(p, "journals the answer", progress)
	recorded := x.flaw != commitBeforeJournal && (r.answer != tokenUnused || x.flaw != unspentForgotten)
	if own := a.recordOf(r.nonce); own != nil && recorded {
		own.kind, own.excused = r.answer, r.excused
	}
	if r.answer == sameToken {
		a.sent[r.token] = 0 // the token is as good as new
	}
	a.replicas[p].at(in).late = false
	switch {
	case in == background:
		a.leave(p, in)
	case r.answer == tokenRefused:
		a.replicas[p].stage = refused
	case r.answer == tokenUnused:
		a.replicas[p].stage = releasing
	default:
		a.replicas[p].stage = committing
	}
	if r.answer != newTokens && r.answer != sameToken {
		return
	}
	lose := func(what string, cl class) *successor {
		a := x.add(p, what, cl)
		if r.answer == newTokens {
			a.lost.add(r.token.next())
		}
		a.leave(p, in)
		return a
	}
	if r.late {
		lose("has listened for long enough; the answer is lost", progress)
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
		x.settle(p, "commits", version{token: r.token.next(), status: ready, about: r.token.next()})
	case doc.deleted && x.flaw != settledByDeletion:
		// The answer stays in the journal, in case the document comes back.
	case doc.deleted:
		x.add(p, "finds the document deleted and settles", progress).end(p)
	case doc.disabled && x.flaw == droppedWhenDisabled:
		x.add(p, "finds the document disabled and settles", progress).end(p)
	case r.answer == sameToken:
		x.commitKept(p)
	case doc.token == r.token.next():
		x.add(p, "finds its tokens in and settles", progress).end(p)
	case doc.token != r.token:
		x.add(p, "finds another token, which wins, and settles", progress).end(p)
	case r.repeated && x.flaw != commitRepeated && s.own(p) != nil && s.own(p).moved:
		x.add(p, "finds that somebody moved on and went back, and settles", progress).end(p)
	default:
		x.settle(p, "commits", s.of(r.token.next(), ready, noNonce))
	}
}

// commitKept ends the own claim on a token that stays, and marks the token.
// Another's claim on it goes on.
func (x *stepper) commitKept(p int) {
	s, r := x.from, x.from.replicas[p]
	switch {
	case s.newest.token != r.token:
		x.add(p, "finds another token, which wins, and settles", progress).end(p)
	case x.shows(s, r.nonce) && !r.withinGrace:
		v := s.of(r.token, ready, noNonce)
		v.survived = true
		x.settle(p, "commits and marks its token as one that survives", v)
	default:
		x.settle(p, "commits and leaves the record as it is", s.newest)
	}
}

// refuse is R6 for invalid_grant.
func (x *stepper) refuse(p int) {
	s, r := x.from, x.from.replicas[p]
	mine := x.flaw == refusalOverClaim
	if own := s.own(p); own != nil {
		mine = mine || x.concerns(s, *own)
	}
	switch {
	case s.newest.deleted:
	case r.withinGrace && x.flaw != graceForgotten:
		x.add(p, "was refused and leaves its claim, made over another, to takeover", progress).end(p)
	case s.newest.token != r.token, !mine:
		x.add(p, "was refused, finds that somebody moved on, and settles", progress).end(p)
	default:
		at := len(x.out)
		x.settle(p, "was refused and asks for reauthorization", s.of(r.token, reauthorize, noNonce))
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
	known := x.look(s)
	switch own := s.own(p); {
	case s.newest.deleted && x.flaw == unspentForgotten:
		x.add(p, "finds the document deleted and forgets that its token was not used", progress).rest(p)
	case s.newest.deleted && x.flaw != settledByDeletion:
	case s.newest.deleted:
		x.add(p, "owes a release to a deleted document and settles", progress).end(p)
	case known.status == spending && known.nonce == r.nonce && r.withinGrace && x.flaw != graceForgotten:
		x.add(p, "leaves its claim, made over another, to takeover", progress).end(p)
	case known.status == spending && s.newest.token == r.token && (known.nonce == r.nonce || x.flaw == releaseOfAny):
		v := s.of(r.token, ready, noNonce)
		v.survived = known.survived
		x.settle(p, "releases", v)
	case own != nil && own.base:
		x.settle(p, "rewrites the document unchanged", s.newest)
	default:
		x.add(p, "has nothing to release and settles", progress).end(p)
	}
}

// settle is a check-and-set that ends the attempt and is repeated until it is in.
func (x *stepper) settle(p int, what string, v version) {
	a := x.add(p, what, progress)
	a.broken = x.put(&a.state, v)
	a.end(p)
	if x.from.left.store == 0 {
		return
	}
	a = x.add(p, what+"; the answer is lost", fault)
	a.broken = x.put(&a.state, v)
	a.left.store--
	a.replicas[p].repeated = true
	a = x.add(p, what+"; the write is late", fault)
	a.left.store--
	a.replicas[p].repeated = true
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
