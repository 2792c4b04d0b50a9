package modelcheck

// recover works on the notes that the replica can reach: those of its own silent
// attempts, and those in the files of dead processes on its machine whose lock
// it has or gets.
func (x *stepper) recover(p int) {
	s := x.from
	if s.newest.deleted {
		return
	}
	for i, n := range s.notes {
		if n.kind == noNote || !x.mayRead(p, n) {
			continue
		}
		take := func(what string, st stage) {
			a := x.add(p, what, progress)
			a.notes[i].holder = uint8(p)
			a.replicas[p] = replica{stage: st, token: n.token, nonce: n.nonce, paused: a.replicas[p].paused, graced: n.graced, forsaken: n.forsaken}
		}
		switch {
		case n.kind == answerNote:
			take("finds an answer in a journal", committing)
		case n.base:
			take("finds a claim in a journal that may still land", owing)
		case x.shows(s, n.nonce) && x.mayClaimOver(n):
			at := len(x.out)
			x.claim(p, "claims over a silent claim", n.graced)
			for ; at < len(x.out); at++ {
				if x.out[at].notes[i].nonce == n.nonce {
					x.out[at].notes[i].holder = uint8(p)
				}
			}
		}
	}
}

// mayClaimOver reports whether nothing is left to lose by claiming over a claim
// that fell silent. One that was made over another's tells nothing of that other:
// once the grace is over it is left to takeover.
func (x *stepper) mayClaimOver(n note) bool {
	doc := x.from.newest
	if x.never || doc.disabled || doc.token.last(x.rotations) {
		return false
	}
	return !n.graced || !x.from.graceOver.has(doc.token) || x.flaw == graceForgotten
}

// mayRead reports whether an idle replica can work on a note.
func (x *stepper) mayRead(p int, n note) bool {
	if !n.orphaned {
		return n.holder == uint8(p) || (x.flaw == adoptionOfLiving && machineOf[n.holder] == machineOf[p])
	}
	return n.machine == machineOf[p] && (n.holder == uint8(p) || n.holder == nobody)
}

// mayTakeOver reports whether takeover can have passed for the claim on the
// document's token: nobody who runs has worked on that token for all that time,
// or could have committed an answer.
func (x *stepper) mayTakeOver(p int) bool {
	s := x.from
	if x.never {
		return false
	}
	for q, r := range s.replicas {
		if q != p && r.running() && r.stage != idle && r.token == s.newest.token {
			return false
		}
	}
	for _, n := range s.notes {
		if n.kind != answerNote || n.token != s.newest.token {
			continue
		}
		for q, r := range s.replicas {
			if r.running() && (n.holder == uint8(q) || (n.holder == nobody && n.machine == machineOf[q])) {
				return false
			}
		}
	}
	return true
}

// forsake marks those whose knowledge of a token a takeover gives up.
func (c *config) forsake(s *state, p int, t token) {
	if c.strict {
		return
	}
	for q := range s.replicas {
		if r := &s.replicas[q]; q != p && r.stage > idle && r.token == t {
			r.forsaken = true
		}
	}
	for i := range s.notes {
		if n := &s.notes[i]; n.kind == answerNote && n.token == t {
			n.forsaken = true
		}
	}
}
