package modelcheck

import (
	"bytes"
	"slices"
)

// keySize is how many bytes a state takes.
const keySize = 80

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
	case s.replicas[1].less(&s.replicas[0]):
		s.swap()
	case !s.replicas[0].less(&s.replicas[1]):
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
func (r *replica) less(o *replica) bool { return r.order() < o.order() }

func (r *replica) order() uint64 {
	a, b := r.pack(), r.back.pack()
	return uint64(flagBits(r.paused))<<32 | uint64(a[0])<<24 | uint64(a[1])<<16 | uint64(b[0])<<8 | uint64(b[1])
}

// swap exchanges the names of the first two replicas.
func (s *state) swap() {
	s.replicas[0], s.replicas[1] = s.replicas[1], s.replicas[0]
	for i := range s.journal {
		if n := &s.journal[i]; n.kind != noRecord && n.holder < 2 {
			n.holder = 1 - n.holder
		}
	}
}

// forget drops what can have no effect.
func (s *state) forget(c *config) {
	doc := s.newest
	for i := range s.journal {
		n := &s.journal[i]
		if n.kind != noRecord && !doc.deleted && !n.base && !s.attempted(n.nonce) && !c.tells(s, *n) {
			*n = claimRecord{} // its settling would change nothing
		}
		n.excused = n.excused && n.kind.used()
		n.moved = n.moved && (n.kind == unanswered || n.kind == newTokens)
	}
	for _, a := range s.attempts() {
		a.excused = a.excused && a.stage != releasing
	}
	speaks := doc.keyed() && doc.about == doc.token && !s.held(doc.token.next())
	if s.left.operator == 0 && (doc.deleted || speaks) {
		for i := range s.older {
			s.older[i] = version{absent: true}
		}
	}
}

// tells reports whether a claim record tells something of the document as it is.
func (c *config) tells(s *state, n claimRecord) bool {
	switch n.kind {
	case newTokens:
		return true
	case unanswered, tokenRefused:
		return c.concerns(s, n)
	default:
		return c.shows(s, n.nonce)
	}
}

func (s *state) attempted(n nonce) bool {
	for _, a := range s.attempts() {
		if a.nonce == n {
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
	slices.SortFunc(s.journal[:], func(a, b claimRecord) int { return int(a.order()) - int(b.order()) })
	name(&s.newest.nonce)
	for _, a := range s.attempts() {
		name(&a.nonce)
	}
	for i := range s.journal {
		name(&s.journal[i].nonce)
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

// order puts records that are there first, and the nonce last.
func (n claimRecord) order() uint32 {
	if n.kind == noRecord {
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
	flags := flagBits(v.survived, v.disabled, v.deleted, v.destroyed, v.absent)
	return [3]byte{byte(v.token) | byte(v.about)<<4, byte(v.status) | flags<<2, byte(v.nonce)}
}

func unpackVersion(b []byte) version {
	return version{
		token: token(b[0] & 15), about: token(b[0] >> 4), status: status(b[1] & 3), nonce: nonce(b[2]),
		survived: b[1]&4 != 0, disabled: b[1]&8 != 0, deleted: b[1]&16 != 0, destroyed: b[1]&32 != 0, absent: b[1]&64 != 0,
	}
}

func (a attempt) pack() [3]byte {
	flags := flagBits(a.late, a.withinGrace, a.repeated, a.stale, a.excused)
	return [3]byte{byte(a.stage) | byte(a.token)<<4, flags | byte(a.answer)<<5, byte(a.nonce)}
}

func unpackAttempt(b []byte) attempt {
	return attempt{
		stage: stage(b[0] & 15), token: token(b[0] >> 4), answer: answerKind(b[1] >> 5), nonce: nonce(b[2]),
		late: b[1]&1 != 0, withinGrace: b[1]&2 != 0, repeated: b[1]&4 != 0, stale: b[1]&8 != 0, excused: b[1]&16 != 0,
	}
}

func (n claimRecord) pack() [3]byte {
	flags := flagBits(n.base, n.moved, n.unseen, n.withinGrace, n.excused, n.orphaned, n.machine == 1)
	return [3]byte{byte(n.kind) | byte(n.token)<<3 | n.holder<<6, flags, byte(n.nonce)}
}

func unpackClaimRecord(b []byte) claimRecord {
	return claimRecord{
		kind: answerKind(b[0] & 7), token: token(b[0] >> 3 & 7), holder: b[0] >> 6, nonce: nonce(b[2]),
		base: b[1]&1 != 0, moved: b[1]&2 != 0, unseen: b[1]&4 != 0, withinGrace: b[1]&8 != 0,
		excused: b[1]&16 != 0, orphaned: b[1]&32 != 0, machine: b[1] >> 6 & 1,
	}
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
		put(r.back.pack())
	}
	for _, n := range s.journal {
		put(n.pack())
	}
	l := s.left
	_ = append(b, byte(s.used), byte(s.under), byte(s.graceOver), byte(s.lost), byte(s.unheard), byte(s.maybeSpent),
		flagBits(s.neighbour, s.replicas[0].paused, s.replicas[1].paused, s.replicas[2].paused),
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
		s.replicas[i].attempt = unpackAttempt(take())
		s.replicas[i].back = unpackAttempt(take())
	}
	for i := range s.journal {
		s.journal[i] = unpackClaimRecord(take())
	}
	s.used, s.under, s.graceOver, s.lost = tokenSet(b[0]), tokenSet(b[1]), tokenSet(b[2]), tokenSet(b[3])
	s.unheard, s.maybeSpent = tokenSet(b[4]), tokenSet(b[5])
	s.neighbour = b[6]&1 != 0
	for p := range s.replicas {
		s.replicas[p].paused = b[6]&(2<<p) != 0
	}
	s.sent = [tokens]uint8{b[7] & 3, b[7] >> 2 & 3, b[7] >> 4, b[8] & 3, b[8] >> 2}
	s.left = budget{b[9] & 15, b[9] >> 4, b[10] & 15, b[10] >> 4, b[11]}
	return s
}
