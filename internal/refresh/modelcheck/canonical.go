package modelcheck

import (
	"bytes"
	"slices"
)

// keySize is how many bytes a state takes.
const keySize = 64

// key is a state in canonical form, for comparison and storage.
type key [keySize]byte

// canonical brings a state into the form that all states that differ in names
// alone share, and returns its key: nonces are numbered in order of appearance,
// the two replicas of one machine are put in order, what no step or property
// looks at any more is forgotten.
func (s *state) canonical(c *config) key {
	s.forget(c)
	switch {
	case c.replicas < 2:
	case s.replicas[1].less(s.replicas[0]):
		s.swap()
	case !s.replicas[0].less(s.replicas[1]):
		other := *s
		other.swap()
		other.rename()
		s.rename()
		a, b := s.pack(), other.pack()
		if bytes.Compare(b[:], a[:]) < 0 {
			*s = other
			return b
		}
		return a
	}
	s.rename()
	return s.pack()
}

// less is any order that does not depend on the names of nonces.
func (r replica) less(o replica) bool {
	return r.order() < o.order()
}

func (r replica) order() uint16 {
	return uint16(r.stage)<<8 | uint16(r.token)<<4 | uint16(flagBits(r.paused, r.late, r.graced, r.forsaken))
}

// swap exchanges the names of the first two replicas.
func (s *state) swap() {
	s.replicas[0], s.replicas[1] = s.replicas[1], s.replicas[0]
	for i := range s.notes {
		if n := &s.notes[i]; n.kind != noNote && n.holder < 2 {
			n.holder = 1 - n.holder
		}
	}
}

// forget drops what can have no effect.
func (s *state) forget(c *config) {
	doc := s.newest
	if !doc.deleted {
		for i := range s.notes {
			n := &s.notes[i]
			if n.kind == claimNote && !n.base && !s.attempted(n.nonce) && (c.never || !c.shows(s, n.nonce)) {
				*n = note{} // its settling would change nothing
			}
		}
	}
	speaks := doc.keyed() && doc.about == doc.token && !s.held(doc.token.next())
	if s.left.operator == 0 && (doc.deleted || speaks) {
		for i := range s.older {
			s.older[i] = version{absent: true}
		}
	}
}

func (s *state) attempted(n nonce) bool {
	for _, r := range s.replicas {
		if r.stage > idle && r.nonce == n {
			return true
		}
	}
	return false
}

// rename numbers the nonces and sorts what has no order.
func (s *state) rename() {
	var names [nonces]nonce
	last := noNonce
	name := func(n *nonce) {
		if *n == noNonce {
			return
		}
		if names[*n] == noNonce {
			last++
			names[*n] = last
		}
		*n = names[*n]
	}
	slices.SortFunc(s.notes[:], func(a, b note) int { return int(a.order()) - int(b.order()) })
	name(&s.newest.nonce)
	for p := range s.replicas {
		name(&s.replicas[p].nonce)
	}
	for i := range s.notes {
		name(&s.notes[i].nonce)
	}
	for i := range s.older {
		name(&s.older[i].nonce)
	}
	for i := range s.late {
		name(&s.late[i].nonce)
	}
	if a, b := s.late[0].pack(), s.late[1].pack(); bytes.Compare(b[:], a[:]) < 0 {
		s.late[0], s.late[1] = s.late[1], s.late[0]
	}
}

// order puts notes that are there first, and the nonce last.
func (n note) order() uint32 {
	if n.kind == noNote {
		return 1 << 31
	}
	p := n.pack()
	return uint32(p[0])<<16 | uint32(p[1])<<8 | uint32(p[2])
}

func flagBits(flags ...bool) (b uint8) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func (v version) pack() [3]byte {
	return [3]byte{byte(v.token) | byte(v.about)<<4, byte(v.status) | flagBits(v.disabled, v.deleted, v.absent)<<4, byte(v.nonce)}
}

func unpackVersion(b []byte) version {
	return version{
		token: token(b[0] & 15), about: token(b[0] >> 4), status: status(b[1] & 15), nonce: nonce(b[2]),
		disabled: b[1]&16 != 0, deleted: b[1]&32 != 0, absent: b[1]&64 != 0,
	}
}

func (r replica) pack() [3]byte {
	return [3]byte{byte(r.stage) | byte(r.token)<<4, flagBits(r.paused, r.late, r.graced, r.forsaken), byte(r.nonce)}
}

func unpackReplica(b []byte) replica {
	return replica{
		stage: stage(b[0] & 15), token: token(b[0] >> 4), nonce: nonce(b[2]),
		paused: b[1]&1 != 0, late: b[1]&2 != 0, graced: b[1]&4 != 0, forsaken: b[1]&8 != 0,
	}
}

func (n note) pack() [3]byte {
	return [3]byte{byte(n.kind) | byte(n.token)<<4, flagBits(n.base, n.forsaken, n.orphaned, n.machine == 1, false, false, n.graced) | n.holder<<4, byte(n.nonce)}
}

func unpackNote(b []byte) note {
	n := note{
		kind: noteKind(b[0] & 15), token: token(b[0] >> 4), nonce: nonce(b[2]),
		base: b[1]&1 != 0, forsaken: b[1]&2 != 0, orphaned: b[1]&4 != 0, graced: b[1]&64 != 0, holder: b[1] >> 4 & 3,
	}
	if b[1]&8 != 0 {
		n.machine = 1
	}
	return n
}

func (s *state) pack() (k key) {
	b := k[:0]
	put := func(three [3]byte) { b = append(b, three[0], three[1], three[2]) }
	put(s.newest.pack())
	for _, v := range s.older {
		put(v.pack())
	}
	for _, v := range s.late {
		put(v.pack())
	}
	for _, r := range s.replicas {
		put(r.pack())
	}
	for _, n := range s.notes {
		put(n.pack())
	}
	l := s.left
	_ = append(b, byte(s.used), byte(s.under), byte(s.graceOver), byte(s.lost),
		s.sent[0]|s.sent[1]<<2|s.sent[2]<<4, s.sent[3]|s.sent[4]<<2,
		l.crashes|l.pauses<<4, l.store|l.server<<4, l.operator)
	return k
}

func (k *key) unpack() (s state) {
	b := k[:]
	take := func() []byte { t := b[:3]; b = b[3:]; return t }
	s.newest = unpackVersion(take())
	for i := range s.older {
		s.older[i] = unpackVersion(take())
	}
	for i := range s.late {
		s.late[i] = unpackVersion(take())
	}
	for i := range s.replicas {
		s.replicas[i] = unpackReplica(take())
	}
	for i := range s.notes {
		s.notes[i] = unpackNote(take())
	}
	s.used, s.under, s.graceOver, s.lost = tokenSet(b[0]), tokenSet(b[1]), tokenSet(b[2]), tokenSet(b[3])
	s.sent = [tokens]uint8{b[4] & 3, b[4] >> 2 & 3, b[4] >> 4, b[5] & 3, b[5] >> 2}
	s.left = budget{b[6] & 15, b[6] >> 4, b[7] & 15, b[7] >> 4, b[8]}
	return s
}
