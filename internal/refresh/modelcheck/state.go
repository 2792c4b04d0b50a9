package modelcheck

// replicas is how many processes the model has room for. The first two run on
// machine 0 and share its journal directory, the third runs on machine 1.
const maxReplicas = 3

var machineOf = [maxReplicas]uint8{0, 0, 1}

// token is a refresh token: t0 is what the document starts with, and x0 is the
// one that an operator writes. An access token is not told apart from the
// refresh token that came with it.
type token uint8

const (
	t0 token = iota
	t1
	t2
	x0
	x1
	tokens = iota
)

// next is the token that the authorization server issues for a token.
func (t token) next() token { return t + 1 }

// last reports whether the model's world ends before this token is rejected.
func (t token) last(rotations uint8) bool {
	return t == x1 || (t < x0 && uint8(t) >= rotations)
}

// newer reports whether u came out of t, by any number of rotations.
func (t token) newer(u token) bool { return u > t && (t >= x0) == (u >= x0) }

// tokenSet has one bit a token.
type tokenSet uint8

func (s tokenSet) has(t token) bool { return s&(1<<t) != 0 }
func (s *tokenSet) add(t token)     { *s |= 1 << t }
func (s *tokenSet) remove(t token)  { *s &^= 1 << t }

// nonce names a claim. Only equality counts, so numbers are used again once
// nothing speaks of them any more.
type nonce uint8

const (
	noNonce nonce = iota
	// unreadable is the nonce of the claim that a deleted version may have held.
	unreadable nonce = nonces
)

// nonces is one more than the largest number.
const nonces = 24

// status is what the reserved key says of a token.
type status uint8

const (
	unkeyed status = iota // no key: somebody else wrote this version
	ready
	spending
	reauthorize
)

func (s status) String() string {
	return [...]string{"no key", "ready", "spending", "reauthorization_required"}[s]
}

// version is one version of the document. About is the token whose fingerprint
// the key holds.
type version struct {
	token    token
	status   status
	about    token
	nonce    nonce
	disabled bool
	deleted  bool // soft deletion: the content is there for undelete alone
	absent   bool // no such version (any more)
}

// keyed reports whether the version says anything of a token's state.
func (v version) keyed() bool { return v.status != unkeyed }

// How much room a state has. Running out of it is a panic, not a smaller search.
const (
	maxOlder = 6
	maxLate  = 2
	maxNotes = 5
)

// nobody is what stands for no replica.
const nobody = maxReplicas

// stage is where a replica is in its attempt.
type stage uint8

const (
	dead       stage = iota
	idle             // no attempt; notes of a silent one may be left
	claiming         // the claim's outcome is unknown
	won              // the document shows the own nonce; nothing is sent
	sent             // the request is under way, the server has not handled it
	answered         // new tokens are on the way or in memory, not in the journal
	committing       // new tokens are in the journal, the document is to be written
	refused          // invalid_grant, the document is to be written
	owing            // given up: a release is owed
)

func (s stage) String() string {
	return [...]string{"dead", "idle", "claiming", "won", "sent", "answered", "committing", "refused", "owing"}[s]
}

// replica is one process. Forsaken is a ghost: somebody on another machine took
// the attempt over, after it had been out of reach for all of takeover.
type replica struct {
	stage    stage
	token    token
	nonce    nonce
	paused   bool // stopped; time goes on
	late     bool // its hard deadline has passed
	graced   bool // its claim was made over another one within the server's grace
	forsaken bool
}

func (r replica) running() bool { return r.stage != dead && !r.paused }

// note is an unsettled entry of a journal: a claim, perhaps with its answer.
// It belongs to a living process or to a dead one's file, which whoever holds
// its lock may work on. Base tells that the version that the claim was made
// against is still the newest.
type note struct {
	kind     noteKind
	token    token
	nonce    nonce
	base     bool
	graced   bool // the claim was made over another one within the grace
	forsaken bool
	orphaned bool  // its process is dead
	machine  uint8 // where the file is, if orphaned
	holder   uint8 // the owner, or the adopter if orphaned (nobody: the lock is free)
}

type noteKind uint8

const (
	noNote noteKind = iota
	claimNote
	answerNote
)

// budget is what may still go wrong.
type budget struct{ crashes, pauses, store, server, operator uint8 }

// state is everything: the world, and ghosts that only the properties look at.
type state struct {
	newest   version
	older    [maxOlder]version // nearest first, those that a look-back may have to see
	late     [maxLate]version  // writes that may still land: their base is the newest version
	replicas [maxReplicas]replica
	notes    [maxNotes]note

	used      tokenSet // the authorization server has exchanged them
	under     tokenSet // they are in requests on the way, whose sender gave up or died
	graceOver tokenSet // the server's grace for a second use is over

	sent [tokens]uint8 // ghost: how often a token was sent, up to 3; kept for takeover never
	lost tokenSet      // ghost: tokens that were lost for a published reason
	left budget
}

// own is the note of a replica's attempt; nil if somebody else settled it.
func (s *state) own(p int) *note {
	for i := range s.notes {
		n := &s.notes[i]
		if n.kind != noNote && n.nonce == s.replicas[p].nonce {
			return n
		}
	}
	return nil
}

// note makes a note of a new claim.
func (s *state) note(p int, t token, n nonce, base bool) {
	for i := range s.notes {
		if s.notes[i].kind == noNote {
			s.notes[i] = note{kind: claimNote, token: t, nonce: n, base: base, holder: uint8(p), graced: s.replicas[p].graced}
			return
		}
	}
	panic("modelcheck: too many notes")
}

// end settles the attempt's note and ends the attempt.
func (s *state) end(p int) {
	if n := s.own(p); n != nil {
		*n = note{}
	}
	s.rest(p)
}

// rest ends the attempt and leaves its note.
func (s *state) rest(p int) {
	s.replicas[p] = replica{stage: idle, paused: s.replicas[p].paused}
}

// fresh is a nonce that nothing speaks of.
func (s *state) fresh() nonce {
	var taken uint32 = 1 << noNonce
	taken |= 1 << s.newest.nonce
	for _, v := range s.older {
		taken |= 1 << v.nonce
	}
	for _, v := range s.late {
		taken |= 1 << v.nonce
	}
	for _, r := range s.replicas {
		taken |= 1 << r.nonce
	}
	for _, n := range s.notes {
		taken |= 1 << n.nonce
	}
	for n := nonce(1); n < nonces; n++ {
		if taken&(1<<n) == 0 {
			return n
		}
	}
	panic("modelcheck: too many nonces")
}
