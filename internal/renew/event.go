package renew

import (
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// EventKind is what happened to a credential.
type EventKind string

const (
	// Claimed says: the document says that its refresh token is being spent by this process.
	Claimed EventKind = "claimed"
	// Refreshed says: new tokens are in the store.
	Refreshed EventKind = "refreshed"
	// Refused says: the refresh token is refused for good, or there is none. Somebody has to
	// authorize anew.
	Refused EventKind = "refused"
	// Failed says: there are no new tokens for now, and the refresh token is as it was: the
	// endpoint cannot be reached, did not look at the token, or a setting is wrong.
	Failed EventKind = "failed"
	// NoAnswer says: the token was sent and there is no answer to it, or one that does not tell
	// whether the token is spent.
	NoAnswer EventKind = "no_answer"
	// Unusable says: the endpoint answered, and its answer has no token that could be used.
	Unusable EventKind = "unusable"
	// TakenOver says: another process's claim is claimed over, as nothing was heard of it.
	TakenOver EventKind = "taken_over"
	// SentAgain says: a refresh token is about to be sent that may have been sent before, and
	// nobody has the answer.
	SentAgain EventKind = "sent_again"
	// Waiting says: another process has claimed the refresh token, and is waited for.
	Waiting EventKind = "waiting"
	// WaitedInVain says: it did not finish while requests waited.
	WaitedInVain EventKind = "waited_in_vain"
	// Disabled says: operators want no refresh.
	Disabled EventKind = "disabled"
	// Deleted says: there is no credential any more.
	Deleted EventKind = "deleted"
	// StoreFailed says: the store does not do what was asked.
	StoreFailed EventKind = "store_failed"
	// JournalFailed says: the journal cannot be written. Nothing is sent without it; an answer
	// that was heard is in memory only.
	JournalFailed EventKind = "journal_failed"
	// CommitDelayed says: new tokens are not in the store yet.
	CommitDelayed EventKind = "commit_delayed"
	// Adopted says: an exited process left a claim unfinished, and this one finishes it.
	Adopted EventKind = "adopted"
	// Rejected says: the upstream did not accept tokens that this process obtained.
	Rejected EventKind = "rejected"
	// Panicked says: a defect of this program ended a refresh.
	Panicked EventKind = "panicked"
)

// Event is something that happened to a credential. Nothing in it is secret.
type Event struct {
	Kind     EventKind
	Provider string
	Tenant   credential.Tenant
	At       time.Time

	// Err says what is wrong; nil if nothing is. Its text names no tenant.
	Err error

	// Status is the token endpoint's, 0 without an answer. Code and Description are its
	// error and error_description (RFC 6749 section 5.2), bounded, the latter without what
	// could be a token.
	Status            int
	Code, Description string

	// Duration is how long the token request took, or how long was waited.
	Duration time.Duration

	// Cooldown is how long nothing is tried again, Until when that ends; zero with Err: not
	// before the document changes.
	Cooldown time.Duration
	Until    time.Time

	// ClaimAge is how old the claim is that is waited for or taken over, and TakeoverAt
	// when others may take it over: zero with an age, never.
	ClaimAge   time.Duration
	TakeoverAt time.Time

	// Count is how often it happened in a row.
	Count int

	// FromJournal says that an exited process obtained it.
	FromJournal bool

	// Stack is where the program was, of [Panicked].
	Stack string

	sum uint64 // of the document that it is about, see sumOf; 0: not known
}

// Concerns reports whether the event is about cred, as far as that is known: that it
// says the same as the document that could not be refreshed. What processes noted in
// it of their attempts makes no difference.
func (e *Event) Concerns(cred *credential.Credential) bool {
	return e.sum == 0 || e.sum == sumOf(cred)
}

// changesOutcome reports whether the event is worth remembering as what happened last.
func (e *Event) changesOutcome() bool {
	switch e.Kind {
	case Claimed, SentAgain, TakenOver, Adopted:
		return false
	}
	return true
}
