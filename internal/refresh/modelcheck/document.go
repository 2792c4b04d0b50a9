package modelcheck

// look is the state of the document's refresh token: what the nearest readable
// version that speaks of its fingerprint says. A deleted version that is passed
// on the way may have held a claim, and counts as one.
func (c *config) look(s *state) (status, nonce) {
	doc := s.newest
	if c.flaw == fingerprintIgnored && doc.keyed() {
		return doc.status, doc.nonce
	}
	if doc.keyed() && doc.about == doc.token {
		return doc.status, doc.nonce
	}
	if c.flaw == noLookBack {
		return ready, noNonce
	}
	if c.flaw == shortLookBack && doc.keyed() {
		return ready, noNonce
	}
	for _, v := range s.older {
		switch {
		case v.absent:
			return ready, noNonce
		case v.deleted && c.flaw != unreadableSkipped:
			return spending, unreadable
		case v.deleted:
		case c.flaw == shortLookBack && v.token != doc.token:
			return ready, noNonce
		case v.keyed() && v.about == doc.token:
			return v.status, v.nonce
		case c.flaw == shortLookBack && v.keyed():
			return ready, noNonce
		}
	}
	return ready, noNonce
}

// shows reports whether the document holds the claim n on its token.
func (c *config) shows(s *state, n nonce) bool {
	st, m := c.look(s)
	return st == spending && m == n
}

// had reports whether an older readable version speaks of the token.
func (s *state) had(t token) bool {
	for _, v := range s.older {
		if !v.absent && !v.deleted && v.keyed() && v.about == t {
			return true
		}
	}
	return false
}

// push makes v the newest version. Whatever was to be written against the
// version before can no longer land.
func (c *config) push(s *state, v version) {
	kept := [maxOlder]version{}
	for i := range kept {
		kept[i].absent = true
	}
	var spoken tokenSet
	n := 0
	keep := func(o version) {
		matters := o.deleted || (o.keyed() && !spoken.has(o.about)) || (c.flaw == shortLookBack && !o.absent)
		if o.absent || !matters {
			return
		}
		if n == maxOlder {
			panic("modelcheck: too many versions")
		}
		kept[n] = o
		n++
		if o.keyed() && !o.deleted {
			spoken.add(o.about)
		}
	}
	keep(s.newest)
	for _, o := range s.older {
		keep(o)
	}
	s.older, s.newest = kept, v
	s.outdate()
}

// outdate is what a change of the version does to writes against the old one.
func (s *state) outdate() {
	for i := range s.late {
		s.late[i] = version{absent: true}
	}
	for i := range s.notes {
		s.notes[i].base = false
	}
}

// put is a replica's write that reaches the store in time for its base: it is
// the one place where the protocol changes the document.
func (c *config) put(s *state, v version) property {
	was := s.newest
	c.push(s, v)
	switch {
	case was.deleted:
		return deletedStays
	case was.disabled && !v.disabled:
		return disabledStays
	case v.token == was.token || was.token.newer(v.token):
		return none
	case (v.token >= x0) != (was.token >= x0):
		return operatorWins
	default:
		return noWayBack
	}
}

// of is a version that a replica writes over the newest: all other fields of
// the document stay.
func (s *state) of(t token, st status, n nonce) version {
	return version{token: t, status: st, about: t, nonce: n, disabled: s.newest.disabled}
}
