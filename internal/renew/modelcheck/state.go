package modelcheck

import "iter"

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
	// unreadable is the nonce of the claim that a version may have held which
	// cannot be read any more.
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

// free reports whether nothing is known that keeps from spending the token.
func (s status) free() bool { return s == unkeyed || s == ready }

// version is one version of the document. About is the token whose fingerprint
// the key holds.
type version struct {
	token     token
	status    status
	about     token
	nonce     nonce
	survived  bool // the key says that the token was seen to survive its use
	disabled  bool
	deleted   bool // not readable; of the newest version, undelete undoes it
	destroyed bool // deleted, and nothing undoes it
	absent    bool // no such version (any more)
}

// keyed reports whether the version says anything of a token's state.
func (v version) keyed() bool { return v.status != unkeyed }

// says reports whether the version can be read and speaks of the token.
func (v version) says(t token) bool {
	return !v.absent && !v.deleted && v.keyed() && v.about == t
}

// How much room a state has. Running out of it is a panic, not a smaller search.
const (
	maxOlder   = 6
	maxLate    = 2
	maxRecords = 6
)

// nobody is what stands for no replica.
const nobody = maxReplicas

// stage is where an attempt is.
type stage uint8

const (
	exited     stage = iota
	idle             // no attempt; records of a silent one may be left
	looked           // the document has been read; see config.stepwise
	claiming         // the claim's outcome is unknown
	won              // the document shows the own nonce; nothing is sent
	sent             // the request is under way, the server has not handled it
	answered         // the answer is on the way or in memory, not in the journal
	committing       // new tokens are in the journal, the document is to be written
	refused          // so is invalid_grant
	releasing        // not sent, or not looked at: a release is owed
)

func (s stage) String() string {
	return [...]string{"exited", "idle", "looked", "claiming", "won", "sent", "answered", "committing", "refused", "releasing"}[s]
}

// attempt is one spending of a refresh token, from its claim to its end.
type attempt struct {
	stage       stage
	token       token
	nonce       nonce
	answer      answerKind // what was answered
	late        bool       // before the sending: the token must not be sent any more; after it: listening may end
	withinGrace bool       // its claim was made over another one within the server's grace
	repeated    bool       // a commit of it may be in already
	stale       bool       // what was read is not the newest version any more
	excused     bool       // ghost: it was given up for a published reason, or is everybody's
}

// replica is one process: an exited one has the stage exited. At most one attempt
// goes on in the background, where it waits for its answer.
type replica struct {
	attempt
	back   attempt // stage sent or answered; the zero value: there is none
	paused bool    // stopped; time goes on
}

func (r *replica) running() bool { return r.stage != exited && !r.paused }

// slot tells a replica's attempts apart.
type slot uint8

const (
	foreground slot = iota
	background
	slots
)

func (r *replica) at(in slot) *attempt {
	if in == background {
		return &r.back
	}
	return &r.attempt
}

// attempts are all that are under way, with their replicas.
func (s *state) attempts() iter.Seq2[int, *attempt] {
	return func(yield func(int, *attempt) bool) {
		for p := range s.replicas {
			for in := range slots {
				if a := s.replicas[p].at(in); a.stage > looked && !yield(p, a) {
					return
				}
			}
		}
	}
}

// claimRecord is an unsettled entry of a journal: a claim, or what was answered to
// it. It belongs to a running process or to an exited one's file, which whoever holds
// its lock may work on.
type claimRecord struct {
	kind        answerKind
	token       token
	nonce       nonce
	base        bool // the version that the claim was made against is still the newest
	moved       bool // a readable version since the claim holds another token
	unseen      bool // somebody on the machine read the document just before the claim came in
	withinGrace bool // the claim was made over another one within the grace
	excused     bool
	orphaned    bool  // its process has exited
	machine     uint8 // where the file is, if orphaned
	holder      uint8 // the owner, or the adopter if orphaned (nobody: the lock is free)
}

type answerKind uint8

const (
	noRecord     answerKind = iota
	unanswered              // a claim, and no answer yet
	newTokens               // new tokens
	sameToken               // success, and the refresh token stays
	tokenUnused             // 503 or 429, or provably not sent
	tokenRefused            // invalid_grant
)

func (k answerKind) String() string {
	return [...]string{"", "claim", "tokens", "kept", "unspent", "refused"}[k]
}

// used reports whether the answer is one of a server that looked at the token.
func (k answerKind) used() bool { return k == newTokens || k == sameToken || k == tokenRefused }

// budget is what may still go wrong.
type budget struct{ crashes, pauses, store, server, operator uint8 }

// state is everything: the world, and ghosts that only the properties look at.
type state struct {
	newest   version
	older    [maxOlder]version // nearest first, those that a look-back may have to see
	late     [maxLate]version  // writes that may still land: their base is the newest version
	replicas [maxReplicas]replica
	journal  [maxRecords]claimRecord

	used      tokenSet // the authorization server has exchanged them
	under     tokenSet // they are in requests on the way, whose sender gave up or died
	graceOver tokenSet // the server's grace for a second use is over
	neighbour bool     // another tenant's token of the same provider was seen to survive

	sent       [tokens]uint8 // ghost: how often a token was sent, up to 3; kept for takeover never
	lost       tokenSet      // ghost: tokens that were lost for a published reason
	unheard    tokenSet      // ghost: who sent them stopped listening though others could not take over yet
	maybeSpent tokenSet      // ghost: who claimed them died before any answer was in the journal; kept for takeover never
	left       budget
}

// recordOf is the record of a claim; nil if somebody settled it.
func (s *state) recordOf(n nonce) *claimRecord {
	for i := range s.journal {
		if s.journal[i].kind != noRecord && s.journal[i].nonce == n {
			return &s.journal[i]
		}
	}
	return nil
}

// own is the record of a replica's attempt in the foreground.
func (s *state) own(p int) *claimRecord { return s.recordOf(s.replicas[p].nonce) }

// addRecord records a new claim.
func (s *state) addRecord(p int, t token, n nonce) {
	for i := range s.journal {
		if s.journal[i].kind == noRecord {
			s.journal[i] = claimRecord{kind: unanswered, token: t, nonce: n, base: true, holder: uint8(p), withinGrace: s.replicas[p].withinGrace}
			return
		}
	}
	panic("modelcheck: too many records")
}

// end settles the attempt's record and ends the attempt.
func (s *state) end(p int) {
	if n := s.own(p); n != nil {
		*n = claimRecord{}
	}
	s.rest(p)
}

// rest ends the attempt and leaves its record.
func (s *state) rest(p int) { s.replicas[p].attempt = attempt{stage: idle} }

// leave ends an attempt of which nothing will be heard any more, and leaves its
// record.
func (s *state) leave(p int, in slot) {
	if in == background {
		s.replicas[p].back = attempt{}
		return
	}
	s.rest(p)
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
	for _, a := range s.attempts() {
		taken |= 1 << a.nonce
	}
	for _, n := range s.journal {
		taken |= 1 << n.nonce
	}
	for n := nonce(1); n < nonces; n++ {
		if taken&(1<<n) == 0 {
			return n
		}
	}
	panic("modelcheck: too many nonces")
}
