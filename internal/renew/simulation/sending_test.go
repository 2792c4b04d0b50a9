package simulation

import (
	"slices"
	"time"
)

const (
	// ownerTime is how long a claim's owner has to send the token.
	ownerTime = 10 * time.Second

	// commitTime is how long a read and a write of the store take at most, and some more.
	commitTime = 9 * time.Second

	// reach is how long somebody with an answer and nothing in the way needs to
	// bring it into the document, or to adopt it first: pauses of the commit and of the
	// adoption, and some reading and writing.
	reach = 12 * time.Second
)

// sends is a refresh token whose first byte leaves.
func (l *ledger) sends(by, name, token string) *sending {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	now := l.now()
	s := &sending{token: token, by: by, at: now, underWay: true}
	if c, nonce := a.claimOf(by, token); !a.rules.rotates() {
		// It needs no claim.
	} else if c != nil {
		s.nonce = nonce
		if now-c.writtenAt > ownerTime {
			l.broken(name, sentInTime, "%s sends %s %v after its claim", by, token, now-c.writtenAt)
		}
	} else {
		l.broken(name, claimFirst, "%s sends %s", by, token)
	}
	for i, earlier := range a.sendings[token] {
		l.twice(a, earlier, s, i+1)
	}
	a.sendings[token] = append(a.sendings[token], s)
	l.trace("%s %s: sends %s for the %d. time", name, by, token, len(a.sendings[token]))
	return s
}

// givesUp is a sender who does not listen any longer, of its own accord.
func (l *ledger) givesUp(s *sending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[l.accountOf(s)]
	if !a.rules.rotates() {
		return
	}
	listened, takeover := l.now()-s.at, a.takeoverOf(s.nonce)
	margin := min(takeover/5, ownersChance)
	if takeover >= 30*time.Second {
		margin = max(margin, commitTime)
	}
	if takeover < 0 || listened+ownerTime < takeover-margin {
		if takeover > 0 || listened < time.Minute {
			l.broken(a.name, listensLong, "%s after %v", s.by, listened)
		}
	}
}

func (l *ledger) accountOf(s *sending) string {
	for name, a := range l.accounts {
		for _, known := range a.sendings[s.token] {
			if known == s {
				return name
			}
		}
	}
	panic("a sending of nobody")
}

// takeoverOf is after what time a claim may be taken over. A token that was seen to
// survive its use may be taken over sooner.
func (a *account) takeoverOf(nonce string) time.Duration {
	takeover := a.rules.takeover
	for i := range a.versions {
		if v := &a.versions[i]; v.nonce == nonce && nonce != "" && v.survived && takeover > 0 {
			takeover = min(takeover, 15*time.Second)
		}
	}
	return takeover
}

// claimOf is the newest claim of a process on a token that is in the document.
func (a *account) claimOf(by, token string) (found *claim, nonce string) {
	for n, c := range a.claims {
		if c.by == by && c.print == fingerprint(token) && c.writtenAt >= 0 && !c.settled && (found == nil || c.notedAt > found.notedAt) {
			found, nonce = c, n
		}
	}
	return found, nonce
}

// twice judges a second sending of a token.
func (l *ledger) twice(a *account, first, second *sending, n int) {
	if !a.rules.rotates() {
		return
	}
	if a.rules.never() {
		if a.eitherLost(first, second) {
			first.forsaken = true
		} else if !first.unlooked {
			l.broken(a.name, neverTwice, "%s by %s, after the %d. by %s at %v", first.token, second.by, n, first.by, first.at)
		}
		return
	}
	if !l.mayBeKnown(a, first) {
		return
	}
	if a.eitherLost(first, second) || a.rules.grace > 0 && a.forgets(second) {
		first.forsaken = true // also if it is within the grace now: it may arrive after that
		l.trace("%s: the claim of %s by %s is forgotten with its version", a.name, first.token, first.by)
		return
	}
	if a.rules.grace > 0 {
		if at, spent := a.spentAt[first.token]; !spent || second.at-at < a.rules.grace {
			return
		}
	}
	if why := l.outOfReach(a, first); why != "" {
		first.forsaken = true
		l.trace("%s: the answer to %s by %s is forsaken: %s", a.name, first.token, first.by, why)
		return
	}
	l.broken(a.name, onceWhileKnown, "%s by %s, after the %d. by %s at %v: under way %v, heard %v, journalled %v",
		first.token, second.by, n, first.by, first.at, first.underWay, first.heard, first.journalled)
}

// mayBeKnown reports whether somebody has, or may yet get, what came of a sending.
func (l *ledger) mayBeKnown(a *account, s *sending) bool {
	alive := !l.actors[s.by].dead
	switch {
	case s.forsaken, s.settled, s.child != "" && a.had(s.child):
		return false
	case s.underWay:
		return alive
	default:
		return s.heard && alive || s.journalled
	}
}

// lostTo reports whether a process cannot know of a claim: the version that held it is
// gone, and so is every version before it that would tell that its token stood there.
// What the process has itself it knows.
func (a *account) lostTo(by, nonce string) bool {
	c := a.claims[nonce]
	if c == nil || c.holders[by] && !c.settled {
		return false
	}
	at := -1
	for i := range a.versions {
		if a.versions[i].nonce == nonce {
			at = i
		}
	}
	if at < 0 || !a.versions[at].gone {
		return false
	}
	return !a.tellsBelow(at, func(v *document) bool { return fingerprint(v.refresh) == c.print })
}

// eitherLost reports whether one of two senders cannot know of the other's claim: the
// second of the first's, or the first of one that was there before its own.
func (a *account) eitherLost(first, second *sending) bool {
	if a.lostTo(second.by, first.nonce) {
		return true
	}
	one, two := a.claims[first.nonce], a.claims[second.nonce]
	return one != nil && two != nil && two.writtenAt >= 0 && two.writtenAt < one.writtenAt && a.lostTo(first.by, second.nonce)
}

// forgets reports whether the sender cannot know when the token was spent first, and so
// that the grace is over.
func (a *account) forgets(s *sending) bool {
	return slices.ContainsFunc(a.sendings[s.token], func(earlier *sending) bool { return a.lostTo(s.by, earlier.nonce) })
}

// tellsBelow reports whether is holds for the nearest version before one that can be read.
func (a *account) tellsBelow(at int, is func(*document) bool) bool {
	for i := at - 1; i >= 0; i-- {
		if v := &a.versions[i]; !v.gone {
			return is(v)
		}
	}
	return false
}

// had reports whether a token was in the document.
func (a *account) had(token string) bool {
	for i := range a.versions {
		if a.versions[i].refresh == token {
			return true
		}
	}
	return false
}

// outOfReach says why a claim may have been taken over though somebody has its
// answer: all who have it were cut off, and takeover is over. It is empty if not.
func (l *ledger) outOfReach(a *account, s *sending) string {
	now := l.now()
	claimedAt := s.at - ownerTime
	if c := a.claims[s.nonce]; c != nil && c.writtenAt >= 0 {
		claimedAt = c.saidAt
	}
	if now-claimedAt < a.takeoverOf(s.nonce)-time.Second { // a store may tell seconds
		return ""
	}
	sender := l.actors[s.by]
	if sender.dead && sender.diedAt-max(sender.trouble, s.at) > reach {
		return ""
	}
	for name, p := range l.actors {
		since := p.trouble
		if name != s.by { // until the sender's death it could not get at its journal
			since = max(since, sender.diedAt)
		}
		if l.mayGetAt(a, s, name) && now-since > reach {
			return ""
		}
	}
	return "who has it was in trouble shortly before"
}

// mayGetAt reports whether a process that lives has the answer to a sending, or may adopt
// it: one on the sender's machine, once that is dead, unless another one has done so.
func (l *ledger) mayGetAt(a *account, s *sending, name string) bool {
	p, sender := l.actors[name], l.actors[s.by]
	switch {
	case p.dead:
		return false
	case !sender.dead:
		return name == s.by
	}
	if c := a.claims[s.nonce]; c != nil {
		for holder := range c.holders {
			if !l.actors[holder].dead {
				return c.holders[name]
			}
		}
	}
	return p.machine == sender.machine
}
