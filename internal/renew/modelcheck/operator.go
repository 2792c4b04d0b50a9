package modelcheck

// writes is a set of operators' writes.
type writes uint16

const (
	putSame    writes = 1 << iota // the same refresh token, without the key
	putOther                      // another refresh token, without the key
	patchOther                    // another refresh token under the old key
	putOld                        // the first token once more, without the key
	deleting                      // a soft deletion, and its undoing
	disabling                     // and enabling
	destroying                    // of the older versions, or of all
)

// operate is one write of an operator.
func (x *stepper) operate() {
	doc := x.from.newest
	if x.from.left.operator == 0 {
		return
	}
	defer func(first int) {
		for i := first; i < len(x.out); i++ {
			x.excuseDestruction(&x.out[i].state)
		}
	}(len(x.out))
	write := func(w writes, possible bool, what string) *successor {
		if x.writes&w == 0 || !possible {
			return nil
		}
		a := x.add(nobody, what, fault)
		a.left.operator--
		return a
	}
	if a := write(putSame, true, "an operator puts the same token without the key"); a != nil {
		x.push(&a.state, version{token: doc.token, disabled: doc.disabled})
	}
	if a := write(putOther, doc.token < x0, "an operator puts another token without the key"); a != nil {
		x.push(&a.state, version{token: x0})
		a.abandon(doc.token)
	}
	if a := write(patchOther, doc.token < x0 && !doc.deleted, "an operator patches another token in"); a != nil {
		v := doc
		v.token = x0
		x.push(&a.state, v)
		a.abandon(doc.token)
	}
	if a := write(putOld, doc.token != t0, "an operator puts the first token back without the key"); a != nil {
		x.push(&a.state, version{token: t0})
		a.abandon(doc.token)
		a.abandon(t0)
	}
	if a := write(deleting, !doc.destroyed, "an operator deletes or undeletes the document"); a != nil {
		a.newest.deleted = !doc.deleted
		if !x.softDelete {
			a.outdate()
		}
	}
	if a := write(destroying, !x.from.older[0].absent, "an operator destroys the older versions"); a != nil {
		a.destroy(x.config)
	}
	if a := write(destroying, !doc.destroyed, "an operator destroys all versions"); a != nil {
		a.destroy(x.config)
		a.newest.deleted, a.newest.destroyed = true, true
		if !x.softDelete {
			a.outdate()
		}
	}
	if a := write(disabling, !doc.deleted, "an operator disables or enables the document"); a != nil {
		v := doc
		v.disabled = !doc.disabled
		if x.flaw == disabledIsStatus {
			v.status, v.about, v.nonce = ready, v.token, noNonce
		}
		x.push(&a.state, v)
	}
}

// destroy makes the older versions unreadable.
func (s *state) destroy(c *config) {
	for i := range s.older {
		s.older[i].deleted = true
	}
	s.older = c.history(version{absent: true}, s.older)
	for i := range s.journal {
		s.journal[i].moved = false
	}
}

// abandon is what an operator does to the descendants of a token by going over
// to another: they are nobody's concern any more.
func (s *state) abandon(t token) {
	if t >= x0 {
		s.lost.add(x1)
		return
	}
	s.lost.add(t1)
	s.lost.add(t2)
}

// excuse gives up what is known of tokens after an operator has destroyed the
// versions that told of it and put the document's token anew: only those who have
// records of it still know.
func (c *config) excuseDestruction(s *state) {
	protocol := *c
	protocol.flaw = sound
	if c.strict || s.newest.deleted || !s.hides() || !protocol.look(s).status.free() {
		return
	}
	var hidden tokenSet
	for _, v := range s.older {
		hidden |= v.hid()
	}
	for t := t0; t < tokens; t++ {
		if hidden.has(t) {
			s.sent[t] = 0
		}
	}
	for _, a := range s.attempts() {
		a.excused = a.excused || hidden.has(a.token)
	}
	for i := range s.journal {
		n := &s.journal[i]
		n.excused = n.excused || (n.kind != noRecord && hidden.has(n.token))
	}
}
