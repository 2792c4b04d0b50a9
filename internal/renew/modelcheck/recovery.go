package modelcheck

// adopt is a process that gets the lock of an exited one's journal file. What it
// has read of the document by then it reads again before it judges by it.
func (x *stepper) adopt(p int) {
	if st := x.from.replicas[p].stage; !x.stepwise || (st != idle && st != looked) {
		return
	}
	for i, n := range x.from.journal {
		if n.kind == noRecord || !n.orphaned || n.holder != nobody || n.machine != machineOf[p] {
			continue
		}
		a := x.add(p, "adopts an exited process's journal", progress)
		a.journal[i].holder = uint8(p)
		if x.flaw != staleAdoption {
			a.rest(p)
		}
	}
}

// recover works on the records that the replica can reach: those of its own
// attempts that are over, and those in the files of exited processes on its machine
// whose lock it has or gets. An answer is acted by, whoever heard it; a claim
// without one may have been sent.
func (x *stepper) recover(p int) {
	s := x.from
	if s.newest.deleted {
		return
	}
	for i, n := range s.journal {
		if n.kind == noRecord || !x.mayRead(p, n) {
			continue
		}
		switch n.kind {
		case newTokens, sameToken:
			x.take(p, i, "finds an answer in a journal", committing)
		case tokenRefused:
			x.take(p, i, "finds a refusal in a journal", refused)
		case tokenUnused:
			x.take(p, i, "finds in a journal that a token was not used", releasing)
		case unanswered:
			x.recoverClaim(p, i)
		}
	}
}

// recoverClaim deals with a claim that has no answer.
func (x *stepper) recoverClaim(p, i int) {
	s, n := x.from, x.from.journal[i]
	switch {
	case n.base:
		x.take(p, i, "finds a claim in a journal that may still land", releasing)
	case x.flaw == adoptedReleased && n.orphaned && x.shows(s, n.nonce):
		x.take(p, i, "finds an exited process's claim and releases it", releasing)
	case x.concerns(s, n) && x.mayClaimOver(n) && !x.hasAnswer(p):
		at := len(x.out)
		x.claim(p, "claims over a silent claim", n.withinGrace)
		for ; at < len(x.out); at++ {
			if x.out[at].journal[i].nonce == n.nonce {
				x.out[at].journal[i].holder = uint8(p)
			}
		}
	}
}

// take goes on with a claim record in the foreground.
func (x *stepper) take(p, i int, what string, st stage) {
	n := x.from.journal[i]
	a := x.add(p, what, progress)
	a.journal[i].holder = uint8(p)
	a.replicas[p].attempt = attempt{
		stage: st, token: n.token, nonce: n.nonce, answer: n.kind,
		withinGrace: n.withinGrace, excused: n.excused, repeated: st == committing && n.orphaned,
	}
}

// concerns reports whether a record is of the claim on the document's token, as the
// document shows or, if nothing in it speaks of the token any more, as the record
// alone tells.
func (c *config) concerns(s *state, n claimRecord) bool {
	return c.shows(s, n.nonce) || (n.token == s.newest.token && c.look(s).status == unkeyed)
}

// mayClaimOver reports whether nothing is left to lose by claiming over a claim
// that fell silent. One that was made over another's tells nothing of that other:
// once the grace is over it is left to takeover.
func (x *stepper) mayClaimOver(n claimRecord) bool {
	doc := x.from.newest
	if x.never || doc.disabled || doc.token.last(x.rotations) {
		return false
	}
	return !n.withinGrace || !x.from.graceOver.has(doc.token) || x.flaw == graceForgotten
}

// mayRead reports whether a replica without an attempt can work on a record. What
// it still listens for is not silent.
func (x *stepper) mayRead(p int, n claimRecord) bool {
	back := x.from.replicas[p].back
	switch {
	case back.stage != exited && back.nonce == n.nonce:
		return false
	case !n.orphaned:
		return n.holder == uint8(p) || (x.flaw == adoptionOfLiving && machineOf[n.holder] == machineOf[p])
	case x.stepwise:
		return n.holder == uint8(p)
	default:
		return n.machine == machineOf[p] && (n.holder == uint8(p) || n.holder == nobody)
	}
}

// hasClaim reports whether the replica has something itself, listened for or
// recorded, that counts as a claim on the document's token, whatever the document
// shows, and comes first.
func (x *stepper) hasClaim(p int) bool {
	if x.hasAnswer(p) {
		return true
	}
	for _, n := range x.from.journal {
		if n.kind == unanswered && n.holder == uint8(p) && x.concerns(x.from, n) && !x.shows(x.from, n.nonce) {
			return x.flaw != ownClaimsByNonce
		}
	}
	return false
}

// hasAnswer reports whether the replica has, or still listens for, an answer for
// the document's token.
func (x *stepper) hasAnswer(p int) bool {
	s := x.from
	counts := func(t token, n nonce) bool {
		return t == s.newest.token && (x.flaw != ownClaimsByNonce || x.shows(s, n))
	}
	if b := s.replicas[p].back; b.stage != exited && counts(b.token, b.nonce) {
		return true
	}
	for _, n := range s.journal {
		if n.kind > unanswered && n.holder == uint8(p) && counts(n.token, n.nonce) {
			return true
		}
	}
	return false
}

// mayTakeOver reports whether takeover can have passed for the claim on the
// document's token: nobody else who runs has worked on that token for all that
// time, listened for its answer or could have acted by one.
func (x *stepper) mayTakeOver(p int, known record) bool {
	s := x.from
	if x.never && (x.flaw != survivedBeatsNever || !known.survived) {
		return false
	}
	for q, a := range s.attempts() {
		switch {
		case q == p || a.token != s.newest.token || !s.replicas[q].running():
		case a.stage == sent && (x.flaw == listensTooLong || (x.flaw == survivedListensLong && known.survived)):
		case a.stage == committing && x.flaw == takeoverAfterOutage:
		default:
			return false
		}
	}
	for _, n := range s.journal {
		if n.kind <= unanswered || n.token != s.newest.token || x.flaw == takeoverAfterOutage {
			continue
		}
		for q := range s.replicas {
			others := q != p || n.holder == nobody // what p has comes first anyway
			if others && s.replicas[q].running() && s.reaches(q, n) {
				return false
			}
		}
	}
	return true
}

// reaches reports whether a record is in the replica's journal or in one that it
// has or can adopt.
func (s *state) reaches(q int, n claimRecord) bool {
	return n.holder == uint8(q) || (n.holder == nobody && n.machine == machineOf[q])
}

// excuseTakeover marks those out of reach whose knowledge of a token a takeover gives up.
func (c *config) excuseTakeover(s *state, t token) {
	if c.strict {
		return
	}
	for q, a := range s.attempts() {
		if a.token == t && s.replicas[q].paused {
			a.excused = true
		}
	}
	for i := range s.journal {
		n := &s.journal[i]
		if n.kind > unanswered && n.token == t && (n.holder == nobody || !s.replicas[n.holder].running()) {
			n.excused = true
		}
	}
}
