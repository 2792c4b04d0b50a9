package modelcheck

// record is what is known of a refresh token. With the status unkeyed nothing is.
type record struct {
	status   status
	nonce    nonce
	survived bool
}

func (v version) record() record { return record{v.status, v.nonce, v.survived} }

// look is what is known of the document's refresh token: what the nearest
// readable version that speaks of its fingerprint says. A version on the way that
// cannot be read may have held a claim on the token, if the first readable one
// below it holds the token or says that it is claimed. A refusal stays one.
func (c *config) look(s *state) record {
	doc := s.newest
	if doc.says(doc.token) || (doc.keyed() && (doc.about == doc.token || c.flaw == fingerprintIgnored)) {
		return doc.record()
	}
	if c.flaw == noLookBack || (c.flaw == shortLookBack && doc.keyed()) {
		return record{}
	}
	claim := record{status: spending, nonce: unreadable}
	var below, claimed bool // below an unreadable version; one may have been a claim
	for _, v := range s.older {
		if v.absent {
			break
		}
		if v.deleted {
			if c.flaw == unreadableClaims {
				return claim
			}
			below = c.flaw != unreadableSkipped
			continue
		}
		says := v.says(doc.token)
		if below {
			claimed = claimed || v.token == doc.token || (says && v.status == spending)
			below = false
		}
		switch {
		case says && claimed && (v.status != reauthorize || c.flaw == refusalForgotten):
			return claim
		case says:
			return v.record()
		case c.flaw == shortLookBack && (v.keyed() || v.token != doc.token):
			return record{}
		}
	}
	if claimed {
		return claim
	}
	return record{}
}

// shows reports whether the document holds the claim n on its token.
func (c *config) shows(s *state, n nonce) bool {
	r := c.look(s)
	return r.status == spending && r.nonce == n
}

// wasRefused reports whether the nearest readable version that speaks of the
// document's token says that it was refused.
func (s *state) wasRefused() bool {
	t := s.newest.token
	if s.newest.keyed() && s.newest.about == t {
		return s.newest.status == reauthorize
	}
	for _, v := range s.older {
		if v.says(t) {
			return v.status == reauthorize
		}
	}
	return false
}

// hides reports whether a version that cannot be read held the document's token,
// and no later one that can be read speaks of it.
func (s *state) hides() bool {
	t := s.newest.token
	if s.newest.says(t) {
		return false
	}
	for _, v := range s.older {
		if v.says(t) {
			return false
		}
		if v.hid().has(t) {
			return true
		}
	}
	return false
}

// stood reports whether an older version, readable or not, held the document's
// token or spoke of it.
func (s *state) stood() bool {
	t := s.newest.token
	for _, v := range s.older {
		if !v.absent && (v.token == t || v.says(t) || v.hid().has(t)) {
			return true
		}
	}
	return false
}

// unreadable is what is left of a version, for the ghosts alone: the token that it
// held, and the one that it spoke of.
func (v version) unreadable() version {
	left := version{token: v.token, deleted: true}
	if v.keyed() {
		left.status, left.about = ready, v.about
	}
	return left
}

// hid is the tokens that a version held or spoke of which cannot be read any more.
func (v version) hid() (t tokenSet) {
	if v.absent || !v.deleted {
		return 0
	}
	t.add(v.token)
	if v.keyed() {
		t.add(v.about)
	}
	return t
}

// push makes v the newest version. Whatever was to be written against the
// version before can no longer land.
func (c *config) push(s *state, v version) {
	was := s.newest
	for i := range s.journal {
		if n := &s.journal[i]; n.kind != noRecord && !was.deleted && was.token != n.token {
			n.moved = true
		}
	}
	s.older = c.history(was, s.older)
	s.newest = v
	s.outdate()
}

// history is what is kept of older versions, nearest first: whatever a look-back
// can come upon.
func (c *config) history(newest version, older [maxOlder]version) (kept [maxOlder]version) {
	for i := range kept {
		kept[i].absent = true
	}
	var spoken, hidden tokenSet // hidden: by the unreadable versions just passed
	below := false
	n := 0
	keep := func(o version) {
		if o.absent {
			return
		}
		matters := below || (o.keyed() && !spoken.has(o.about)) || c.flaw == shortLookBack
		if o.deleted {
			o = o.unreadable()
			matters = o.hid()&^hidden != 0
			hidden |= o.hid()
		} else {
			hidden = 0
			if o.keyed() {
				spoken.add(o.about)
			}
		}
		below = o.deleted
		if !matters {
			return
		}
		if n == maxOlder {
			panic("modelcheck: too many versions")
		}
		kept[n] = o
		n++
	}
	keep(newest)
	for _, o := range older {
		keep(o)
	}
	return kept
}

// outdate is what a change of the version does to writes against the old one,
// and to what was read of it.
func (s *state) outdate() {
	for i := range s.late {
		s.late[i] = version{absent: true}
	}
	for i := range s.journal {
		s.journal[i].base = false
	}
	for p := range s.replicas {
		if r := &s.replicas[p]; r.stage == looked {
			r.stale = true
		}
	}
}

// put is a replica's write that reaches the store in time for its base: it is
// the one place where the protocol changes the document.
func (c *config) put(s *state, v version) property {
	was := s.newest
	wasRefused := s.wasRefused()
	switch v.status {
	case spending:
		s.markUnseen(v.nonce)
	case ready:
		s.markPublished(c.look(s).nonce)
	}
	c.push(s, v)
	switch {
	case was.deleted:
		return deletedStays
	case was.disabled && !v.disabled:
		return disabledStays
	case wasRefused && v.status == spending && v.about == was.token:
		return refusedStays
	case v.token == was.token || was.token.newer(v.token):
		return none
	case (v.token >= x0) != (was.token >= x0):
		return operatorWins
	default:
		return noWayBack
	}
}

// markPublished excuses who has an answer that keeps its refresh token: it is in the
// document now, and no longer known to the owner of the claim alone.
func (s *state) markPublished(claim nonce) {
	for _, a := range s.attempts() {
		a.excused = a.excused || (a.answer == sameToken && a.nonce == claim)
	}
	if n := s.recordOf(claim); n != nil && n.kind == sameToken {
		n.excused = true
	}
}

// markUnseen marks the record of a claim that comes in while somebody on its machine
// has read the document as it was before.
func (s *state) markUnseen(claim nonce) {
	n := s.recordOf(claim)
	if n == nil {
		return
	}
	machine := n.machine
	if !n.orphaned {
		machine = machineOf[n.holder]
	}
	for p, r := range s.replicas {
		if r.stage == looked && !r.stale && machineOf[p] == machine {
			n.unseen = true
		}
	}
}

// of is a version that a replica writes over the newest: all other fields of
// the document stay.
func (s *state) of(t token, st status, n nonce) version {
	return version{token: t, status: st, about: t, nonce: n, disabled: s.newest.disabled}
}
