package simulation

import "time"

// readAge is how old what a process has read can be when it writes.
const readAge = 6 * time.Second

// operates is a version that an operator writes, the first one included.
func (l *ledger) operates(name string, d document) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	d.by, d.at = operator, l.now()
	if a.deleted {
		a.versions[len(a.versions)-1].gone = true
	}
	a.versions = append(a.versions, d)
	a.deleted = false
}

// deletes is an operator's deletion, or the undoing of one.
func (l *ledger) deletes(name string, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	a.deleted, a.deletedAt = deleted, l.now()
}

// writes judges a version that a process wrote over the newest one. issued is when
// it began to write, told when it last read that there is no document (-1: never).
func (l *ledger) writes(by, name string, d document, issued, told time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	d.by, d.at = by, l.now()
	if a.deleted {
		if knew := told > a.deletedAt && told <= issued; knew || issued-a.deletedAt > readAge && issued-l.actors[by].trouble > reach {
			l.broken(name, deletedStays, "by %s at %v, deleted at %v, and it knew: %v", by, issued, a.deletedAt, knew)
		}
		a.deleted = false
		a.versions[len(a.versions)-1].gone = true
	}
	base := a.versions[len(a.versions)-1]
	known := a.standing()
	l.judgeTokens(a, base, d)
	if base.note != d.note {
		l.broken(name, fieldsKept, "%s makes %q of %q", by, d.note, base.note)
	}
	if base.disabled() != d.disabled() {
		l.broken(name, disabledStays, "%s makes %v of %v", by, d.disabled(), base.disabled())
	}
	l.judgeClaim(a, base, known, d)
	if d.refused() && !base.refused() {
		l.judgeRefusal(a, d)
	}
	a.versions = append(a.versions, d)
	if c := a.claims[d.nonce]; c != nil && c.writtenAt < 0 {
		c.writtenAt, c.saidAt = d.at, min(d.at, d.saidAt)
		if d.saidAt <= 0 {
			c.saidAt = d.at
		}
	}
}

// standing is the nearest version that speaks of the newest version's token.
func (a *account) standing() *document {
	token := a.versions[len(a.versions)-1].refresh
	for i := len(a.versions) - 1; i >= 0; i-- {
		if a.versions[i].speaks(token) {
			return &a.versions[i]
		}
	}
	return nil
}

func (l *ledger) judgeTokens(a *account, base, d document) {
	switch {
	case d.refresh == base.refresh:
	case a.parents[d.refresh] != base.refresh || a.parents[d.refresh] == "":
		l.broken(a.name, noWayBack, "%s writes %s over %s", d.by, d.refresh, base.refresh)
	case a.canBeSeen(d.refresh):
		l.broken(a.name, oneInOnce, "%s writes %s over %s", d.by, d.refresh, base.refresh)
	}
}

// canBeSeen reports whether a version that can be read has the token.
func (a *account) canBeSeen(token string) bool {
	for i := range a.versions {
		if v := &a.versions[i]; v.refresh == token && !v.gone {
			return true
		}
	}
	return false
}

// destroys is an operator's destruction of all versions but the newest, or with it.
func (l *ledger) destroys(name string, newest bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[name]
	for i := range a.versions {
		if i < len(a.versions)-1 || newest {
			a.versions[i].gone = true
		}
	}
	if newest {
		a.deleted, a.deletedAt = true, l.now()
	}
}

// judgeClaim looks at what becomes of a claim on the document's token.
func (l *ledger) judgeClaim(a *account, base document, known *document, d document) {
	claims := d.nonce != "" && d.nonce != base.nonce
	if claims && base.disabled() {
		l.broken(a.name, noClaimDisabled, "by %s with %s", d.by, short(d.nonce))
	}
	if known == nil || d.refresh != base.refresh || !a.rules.rotates() {
		return
	}
	if claims && known.refused() && !known.gone { // what is gone tells nothing
		l.broken(a.name, refusedStays, "%s claims %s", d.by, d.refresh)
	}
	if !known.claimed() || d.nonce == known.nonce || !d.speaks(d.refresh) {
		return
	}
	c := a.claims[known.nonce]
	if c != nil && c.holders[d.by] {
		return // its own, or a dead process's
	}
	if a.lostTo(d.by, known.nonce) {
		return
	}
	if !claims {
		l.broken(a.name, foreignClaim, "%s ends %s", d.by, short(known.nonce))
		return
	}
	age := d.at - known.at
	if c != nil {
		age = d.at - c.saidAt
	}
	switch {
	case !a.rules.never() && age >= a.takeoverOf(known.nonce)-time.Second: // a store may tell seconds
	case a.rules.grace > 0 && d.over == known.nonce && (a.claimedFor(d) < a.rules.grace || l.now()-l.actors[d.by].trouble < reach):
		// If it is stopped in between, the token is not sent any more.
	default:
		l.broken(a.name, foreignClaim, "%s claims over %s, which is %v old", d.by, short(known.nonce), age)
	}
}

// claimedFor is how long ago the token of d was claimed first, as far as who wrote it can
// know. Within the grace that is what counts, as it counts for the server.
func (a *account) claimedFor(d document) time.Duration {
	for i := range a.versions {
		if v := &a.versions[i]; v.claimed() && v.speaks(d.refresh) && !a.lostTo(d.by, v.nonce) {
			return d.at - v.at
		}
	}
	return 0
}

func (l *ledger) judgeRefusal(a *account, d document) {
	if a.rules.lasting && a.rules.never() {
		return // an answer that is cut off may have had another token in it
	}
	if spent, ok := a.spentAt[d.refresh]; !ok || a.rules.grace > 0 && d.at-spent < a.rules.grace {
		l.broken(a.name, goodReason, "%s: %s is good", d.by, d.refresh)
	}
	for _, s := range a.sendings[d.refresh] {
		if s.child != "" && !s.underWay && l.mayBeKnown(a, s) {
			l.broken(a.name, goodReason, "%s: what %s was exchanged for is known", d.by, d.refresh)
		}
	}
}
