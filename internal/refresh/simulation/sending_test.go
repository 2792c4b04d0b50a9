package simulation

import "time"

const (
	// ownerTime is how long a claim's owner has to send the token.
	ownerTime = 10 * time.Second

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
		if now-c.notedAt > ownerTime {
			l.broken(name, sentInTime, "%s sends %s %v after it noted the claim", by, token, now-c.notedAt)
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
		if !first.unlooked {
			l.broken(a.name, neverTwice, "%s by %s, after the %d. by %s at %v", first.token, second.by, n, first.by, first.at)
		}
		return
	}
	if a.rules.grace > 0 {
		if at, spent := a.spentAt[first.token]; !spent || second.at-at < a.rules.grace {
			return
		}
	}
	if !l.mayBeKnown(a, first) {
		return
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
		claimedAt = c.writtenAt
	}
	if now-claimedAt < a.rules.takeover {
		return ""
	}
	sender := l.actors[s.by]
	for name, p := range l.actors {
		has := name == s.by
		if sender.dead {
			has = p.machine == sender.machine
		}
		if has && !p.dead && now-p.trouble > reach {
			return ""
		}
	}
	return "who has it was in trouble shortly before"
}
