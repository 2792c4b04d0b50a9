package simulation

import (
	"fmt"
	"sync"
	"time"
)

// property is what must hold.
type property string

const (
	onceWhileKnown  property = "a token is sent again while an answer to its first sending can still be known"
	neverTwice      property = "a token is sent again with takeover never"
	sentInTime      property = "a token is sent later than 10 s after its claim began"
	claimFirst      property = "a token is sent without a claim in the document"
	noWayBack       property = "our write goes to another token than the document's own successor"
	oneInOnce       property = "a token that was in the document before is written again"
	fieldsKept      property = "our write changes a field that is not ours"
	disabledStays   property = "our write ends or sets disabled"
	noClaimDisabled property = "a disabled document is claimed"
	foreignClaim    property = "somebody else's claim is ended or claimed over, and there was no right to"
	refusedStays    property = "a refused token is claimed"
	goodReason      property = "reauthorization is required without a reason"
	deletedStays    property = "a deleted document is written"
	journalFirst    property = "new tokens are on their way to the store before they are in the journal"
	noLoss          property = "a token is lost without a cause"
	noneStuck       property = "a document stays stuck"
	served          property = "a tenant is not served after the faults"
	waits           property = "a call waits too long"
	journalsEmpty   property = "a journal keeps what is settled"
	tellsSecret     property = "an event has a secret in it"
	listensLong     property = "an answer is given up long before others may take over"
	noPanic         property = "a defect of the program ends a refresh"
)

// ledger is the god's view: who sent which token when, who can still know what
// came of it, and who wrote what. It judges each step, and the end.
type ledger struct {
	now   func() time.Duration // since the beginning
	trace func(format string, args ...any)

	mu         sync.Mutex
	accounts   map[string]*account
	actors     map[string]*actor
	violations []violation
}

type violation struct {
	property property
	account  string
	what     string
}

func (v violation) String() string { return fmt.Sprintf("%s: %s: %s", v.account, v.property, v.what) }

// actor is a process, from its start to its end.
type actor struct {
	machine string
	dead    bool
	diedAt  time.Duration
	trouble time.Duration // when something was last in its way
}

// account is what is known of one credential.
type account struct {
	name      string
	rules     rules
	versions  []document // the first has number 1
	deleted   bool
	deletedAt time.Duration
	parents   map[string]string // refresh token: what it was issued for
	spentAt   map[string]time.Duration
	sendings  map[string][]*sending // by token
	claims    map[string]*claim     // by nonce
}

// claim is a claim, from its note in a journal on.
type claim struct {
	by        string
	print     string
	notedAt   time.Duration
	writtenAt time.Duration // -1: not in the document yet
	saidAt    time.Duration // by its own word
	holders   map[string]bool
	in        map[string]bool // ids of the journals that have it
	settled   bool
	kept      bool // a settlement did not get into the journal
	orphaned  bool // who made it died before it was settled
}

// sending is one presentation of a refresh token.
type sending struct {
	token string
	by    string
	nonce string
	at    time.Duration

	underWay   bool   // the sender may still hear the answer
	child      string // what the server gave for it
	heard      bool   // the sender has the child
	unlooked   bool   // the sender has heard that the server did not look
	journalled bool
	tried      bool // the sender has asked its journal to take the answer
	settled    bool
	forsaken   bool // taken over from somebody who was out of reach
	crashed    bool // the sender died with the only copy
}

func newLedger(now func() time.Duration, trace func(string, ...any)) *ledger {
	return &ledger{now: now, trace: trace, accounts: make(map[string]*account), actors: make(map[string]*actor)}
}

func (l *ledger) violate(account string, p property, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken(account, p, format, args...)
}

// broken is violate with the mutex held.
func (l *ledger) broken(account string, p property, format string, args ...any) {
	v := violation{p, account, fmt.Sprintf(format, args...)}
	l.violations = append(l.violations, v)
	l.trace("BROKEN %v", v)
}

// open begins an account.
func (l *ledger) open(name string, r rules) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts[name] = &account{
		name: name, rules: r, parents: make(map[string]string), spentAt: make(map[string]time.Duration),
		sendings: make(map[string][]*sending), claims: make(map[string]*claim),
	}
}

func (l *ledger) begins(process, machine string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.actors[process] = &actor{machine: machine, trouble: l.now()}
}

// dies ends a process. What only it had is lost.
func (l *ledger) dies(process string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.actors[process].dead, l.actors[process].diedAt = true, l.now()
	for _, a := range l.accounts {
		for _, c := range a.claims {
			c.orphaned = c.orphaned || c.by == process && !c.settled
		}
		for _, sendings := range a.sendings {
			for _, s := range sendings {
				if s.by == process {
					s.underWay = false
					s.crashed = s.crashed || !s.journalled
				}
			}
		}
	}
}

// troubles notes that something is in a process's way, or was, or will be for d.
func (l *ledger) troubles(process string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.actors[process]
	a.trouble = max(a.trouble, l.now()+d)
}

// calms notes that nothing is in anybody's way any more.
func (l *ledger) calms() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.actors {
		a.trouble = min(a.trouble, l.now())
	}
}

// notes is a claim that is to be written into a journal.
func (l *ledger) notes(by, name, nonce, print string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	if a.claims[nonce] == nil {
		a.claims[nonce] = &claim{
			by: by, print: print, notedAt: l.now(), writtenAt: -1,
			holders: make(map[string]bool), in: make(map[string]bool),
		}
	}
	a.claims[nonce].holders[by] = true
}

// files is a note that is in a journal.
func (l *ledger) files(nonce, journal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if c := a.claims[nonce]; c != nil {
			c.in[journal] = true
		}
	}
}

// adopts is a claim that a process finds in a dead one's journal.
func (l *ledger) adopts(by, name, nonce, journal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.accounts[name].claims[nonce]; c != nil {
		c.holders[by] = true
		c.in[journal] = true // even if it was settled there, before a power failure
	}
}

// unfinished reports whether journals have something that should be settled: an
// answer, or a claim without one, which may have to wait for a person.
func (l *ledger) unfinished(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	for nonce, c := range a.claims {
		if len(c.in) > 0 && !a.mayStay(nonce) {
			return true
		}
	}
	return false
}

// mayStay reports whether a claim may stay in a journal while all is as it is.
func (a *account) mayStay(nonce string) bool {
	if a.deleted {
		return true
	}
	for _, sendings := range a.sendings {
		for _, s := range sendings {
			if s.nonce == nonce && s.journalled {
				return false
			}
		}
	}
	return a.excused()
}

// answers is an answer that a journal is asked to take.
func (l *ledger) answers(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.under(nonce) {
		s.tried = true
	}
}

// offers judges a write when it sets out, whether or not it arrives.
func (l *ledger) offers(by, name string, d document) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	for _, s := range a.sendings[a.parents[d.refresh]] {
		if s.child == d.refresh && s.by == by && s.nonce != "" && !s.tried && !s.journalled {
			l.broken(name, journalFirst, "%s by %s", d.refresh, by)
		}
	}
}

// journals is an answer that is in a journal.
func (l *ledger) journals(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.under(nonce) {
		s.journalled = s.heard
	}
}

// settles is a claim for which a journal has nothing to be done any more.
func (l *ledger) settles(nonce, journal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		c := a.claims[nonce]
		if c == nil {
			continue
		}
		delete(c.in, journal)
		c.settled = len(c.in) == 0
		for _, sendings := range a.sendings {
			for _, s := range sendings {
				s.settled = s.settled || s.nonce == nonce && c.settled
			}
		}
	}
}

// keeps is a settlement that a journal did not take.
func (l *ledger) keeps(nonce string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if c := a.claims[nonce]; c != nil {
			c.kept = true
		}
	}
}

// mayKeep reports whether a journal may have something for ever that is settled.
func (l *ledger) mayKeep(name, nonce string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	return a.mayStay(nonce) || a.claims[nonce].kept
}

// under are the sendings under a claim, of which there is one at most.
func (l *ledger) under(nonce string) []*sending {
	var found []*sending
	for _, a := range l.accounts {
		for _, sendings := range a.sendings {
			for _, s := range sendings {
				if s.nonce == nonce {
					found = append(found, s)
				}
			}
		}
	}
	return found
}

// grants is a new refresh token for one that is brought from outside, if parent is
// empty, or was sent.
func (l *ledger) grants(name, parent, child string, s *sending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	a.parents[child] = parent
	if s != nil {
		s.child = child
		if _, spent := a.spentAt[parent]; !spent {
			a.spentAt[parent] = l.now()
		}
	}
}

// hears is what the sender hears: that the server did not look, or the new refresh
// token, or nothing.
func (l *ledger) hears(s *sending, unlooked, child bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.underWay = false
	s.unlooked = unlooked
	s.heard = child
	if child && l.actors[s.by].dead {
		s.heard, s.crashed = false, true
	}
}

// silent is a sending whose answer the sender does not wait for any more.
func (l *ledger) silent(s *sending) { l.hears(s, false, false) }
