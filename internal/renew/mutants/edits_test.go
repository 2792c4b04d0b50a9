package mutants

// mutants are those of the protocol, in the order of doc.go of package renew.
var mutants = []mutant{
	{"renewal.go", "claims are judged by a document that was read before they were known", `	known, err := r.history(newest)
`, `	r.claims = r.viewClaims()
	known, err := r.history(newest)
`},
	{"renewal.go", "a disabled document is refreshed", `case known.disabled():`, `case false:`},
	{"renewal.go", "takeover never spends an own silent token again", `case own.unanswered != nil && p.Takeover < 0:`, `case false:`},
	{"renewal.go", "a refused token is sent again", `case known.refused():`, `case false:`},
	{"renewal.go", "a token is sent again while its answer is listened for", `case own.listening != nil && (own.unanswered != nil`, `case false && own.listening != nil && (own.unanswered != nil`},
	{"renewal.go", "any number of answers is listened for", `r.listeners() >= maxListeners`, `false`},
	{"renewal.go", "a sending is forgotten that nobody had an answer to", `maybeSpent: known.Since != ""`, `maybeSpent: false`},
	{"renewal.go", "an exclusive store's claim is waited for", `ownerExited := r.options.Exclusive && known.Owner`, `ownerExited := false && known.Owner`},
	{"renewal.go", "takeover never spends an exited process's token again", `case ownerExited && p.Takeover < 0:`, `case false:`},
	{"renewal.go", "the same access token again is a success", `case pass.err == nil && r.rejected != nil && !r.flight.ahead`, `case false && !r.flight.ahead`},

	{"claim.go", "the document is not read right before it is claimed", `held, err := r.read(r.key)`, `held, err := base, error(nil)`},
	{"claim.go", "somebody else's claim is taken for one's own", `case unknown == nil && known.Nonce == claim.Nonce:`, `case unknown == nil && known.claimed():`},
	{"claim.go", "a claim does not say since when its token may be used", `cmp.Or(how.known.Since, says.At)`, `cmp.Or(says.At)`},
	{"claim.go", "a claim within the grace does not say what it is over", `if claim.withinGrace {`, `if false {`},
	{"claim.go", "a claim does not say that its token survived", `Survived: how.known.Survived, By`, `By`},
	{"claim.go", "a claim does not say how long its owner listens", `Listens: claim.limits.Listen.String(), `, ``},
	{"claim.go", "a claim is not noted in the journal", `owner, err := r.owner(claim.ClaimRecord)`, `owner, err := r.id, error(nil)`},
	{"claim.go", "a claim that comes to nothing stays in the journal", `			r.settle(claim)
				return nil, held, errConcurrentUpdate`, `			return nil, held, errConcurrentUpdate`},
	{"claim.go", "what the store refuses is asked for again at once", `return nil, base, r.fail(base.Credential, Event{Kind: StoreFailed, Err: err})`, `return nil, base, r.notRead(err)`},

	{"spend.go", "another claim on the token is ignored that turned up meanwhile", `if err == nil && r.hasRival(claim) {`, `if false {`},
	{"spend.go", "tokens are sent into a breaker that has opened", `if err == nil && !permit.stillHolds(r.closed) {`, `if false {`},
	{"spend.go", "a claim is left in the document that comes to nothing", `		r.abandon(claim, err)
`, ``},
	{"spend.go", "requests wait for the answer without end", `time.Until(claim.limits.Start.Add(patience))`, `100*time.Until(claim.limits.Start.Add(patience))`},
	{"spend.go", "who joins a recovery is let go with it", `patience != maxWait; {`, `false; {`},
	{"spend.go", "that a token was not sent is not noted like an answer", `		if wrong.Unspent {
			r.note`, `		if false {
			r.note`},
	{"spend.go", "an answer does not wake who is to deal with it", `		if unattended {
			r.takeUpNow`, `		if false {
			r.takeUpNow`},

	{"journal.go", "an answer is not written into the journal", `	r.journalAnswer(claim)
}`, `}`},
	{"journal.go", "a token that comes without rotation is not written into the journal", `if claim.claimless && !r.bringsAnother(claim) {`, `if claim.claimless {`},

	{"finish.go", "a refusal within the grace is the last word", `case claim.withinGrace:`, `case false:`},
	{"finish.go", "a refused login is repeated until its user is locked out", `			return pauseOfRepeated`, `			return 0`},
	{"finish.go", "a token that was refused without a claim is the last word", `if err == nil && r.dropRefused(claim, newest, wrong) {`, `if false {`},
	{"finish.go", "a refusal that is not in the store yet is the last word", `!errors.Is(err, errPending) || r.withoutRefused(claim, base.Credential) != nil`, `!errors.Is(err, errPending)`},
	{"update.go", "a refused token is the last word", `if without := r.withoutRefused(claim, held.Credential); without != nil {`, `if without := []byte(nil); without != nil {`},
	{"finish.go", "silence leaves the token as it was", `	case !wrong.Permanent:
		// Nobody`, `	case !wrong.Permanent:
		_ = r.unclaim(claim)
		// Nobody`},
	{"finish.go", "what is not looked at is asked for again at once", `		err := r.failAnswer(base.Credential, wrong)
		r.releaseWaiters`, `		err := error(ErrFailed)
		r.releaseWaiters`},
	{"finish.go", "an answer that could not be noted is never noted", `	r.journalAnswer(claim)
	tokens`, `	tokens`},
	{"finish.go", "who joins a recovery does not get the tokens that it could not store", `(r.rejected == nil || tokenChanged(r.provider, fresh, r.rejected))`, `r.rejected != nil && tokenChanged(r.provider, fresh, r.rejected)`},
	{"finish.go", "a refresh token beside an error is dropped", `(token == t.spent || token == "")`, `(token == t.spent || true)`},

	{"commit.go", "tokens that were in the document are brought in again", `if !stays && (again || claim.adopted) {`, `if false {`},
	{"commit.go", "that a write may be in is ignored", `(again || claim.adopted)`, `claim.adopted`},
	{"commit.go", "our tokens win over somebody else's", `case !r.holds(held.Credential, tokens.spent):`, `case false:`},
	{"commit.go", "an answer without a refresh token ends another's claim", `if stays && known.claimed() && (!claimed || known.Over != "") {`, `if false {`},
	{"commit.go", "takeover never guesses what is cut off", `case stays && r.provider.Takeover < 0 && r.provider.Rotation`, `case false && r.provider.Rotation`},
	{"commit.go", "a token survived for all that is cut off", `case stays && tokens.complete:`, `case stays:`},
	{"commit.go", "requests wait for the store to take new tokens", `release := time.AfterFunc(releaseAfter,`, `release := time.AfterFunc(100*releaseAfter,`},

	{"update.go", "a release forgets that the token may have been sent", `if known.Since != known.At || p.maybeSpent && !p.adopted {`, `if false {`},
	{"update.go", "a refusal ends somebody else's claim", `case known.Nonce != claim.Nonce || known.Over != "":`, `case false:`},
	{"update.go", "a release ends whatever claim there is", `case known.Nonce == claim.Nonce && known.Over == "":`, `case known.claimed():`},
	{"update.go", "a late claim finds its version", `case known.Nonce != claim.Nonce && held.Version() == claim.BaseVersion:`, `case false:`},
	{"update.go", "an update is given up after a conflict", `case errors.Is(err, credential.ErrConflict) && attempt <= rounds:`, `case false:`},

	{"history.go", "a version that was deleted held no claim", `case lost != nil && holds && `, `case false && lost != nil && holds && `},
	{"history.go", "a version that was deleted held a claim on whatever token", `case lost != nil && holds && `, `case lost != nil && (holds || true) && `},
	{"history.go", "a refused token was claimed in a version that was deleted", `case speaking && speaks.refused():`, `case false:`},
	{"history.go", "what was put over a deleted version was a claim", `above == nil || !deletedBefore(v, *above)`, `true`},
	{"history.go", "what operators say is taken from an older version", `return known.keeping(own), err`, `return known, err`},
	{"history.go", "the search for other tokens stops at a deleted version", `if err != nil || !v.kept || look(v) {`, `if err != nil || !v.kept || v.unreadable || look(v) {`},

	{"pending.go", "a claim over another is claimed over", `case known.Nonce == claim.Nonce && known.Over != "":`, `case false:`},
	{"pending.go", "a claim that may be on its way is settled", `return own, r.obstruct(claim)`, `r.settle(claim)`},
	{"pending.go", "a silent claim is forgotten when somebody puts the document anew", `claim.Fingerprint == same && !known.claimed() && !known.refused()`, `false && !known.claimed() && !known.refused()`},
	{"pending.go", "a claim is settled while its answer is listened for", `		case view.listening:
`, `		case false:
`},
	{"pending.go", "a claim is settled that may be the one nobody can read", `case claim.Fingerprint == same && known.isLost():`, `case false:`},

	{"await.go", "an exited process's journal does not end the wait", `case r.claimsChanged():`, `case false:`},
	{"await.go", "a document is claimed that is disabled meanwhile", `case known.disabled():`, `case false:`},
	{"await.go", "a claim is taken over without its owner's chance", ` && !seen.last.Before(seen.leave)`, ``},
	{"await.go", "each read puts takeover off", `case gap <= shortGap:`, `case gap <= 0:`},
	{"await.go", "a slow store puts takeover off", `gap := began.Sub(w.last)`, `gap := now.Sub(w.last)`},
	{"await.go", "a store that fails now and then puts takeover off", `case failed == 1 && gap < ownersChance`, `case false && failed == 1`},
	{"await.go", "takeover goes by this process's clock", `if age, _, ok := claim.age(newest.readAt); ok {`, `if age, _, ok := claim.age(newest.readAt); false && ok {`},
	{"await.go", "the grace counts from the last claim", `total+ownerSent < p.RotationGrace`, `min(age, total)+ownerSent < p.RotationGrace`},
	{"await.go", "the grace begins before the owner has sent the token", `age > ownerSent`, `age > 0`},
	{"await.go", "the grace ends when the token is about to be sent", `total+ownerSent < p.RotationGrace`, `total < p.RotationGrace`},

	{"limits.go", "who listens leaves no time before others may take over", `return takeover / 5`, `return 0`},
	{"limits.go", "a store's slowest read and write are not reckoned with", `return max(storeTimeout+writeTimeout+time.Second, min(takeover/5, 15*time.Second))`, `return 0`},
	{"commit.go", "new tokens are dropped for a document without any", `case !r.hasToken(held.Credential):`, `case false:`},
	{"claim.go", "a token that nobody claims is listened for as long as others", `takeover = survivedTakeover // to send`, `_ = survivedTakeover // to send`},
	{"limits.go", "a token is sent as late as its answer is listened for", `sendWithin = 10 * time.Second`, `sendWithin = 10 * time.Minute`},
	{"limits.go", "another's configuration is ignored", `err == nil && after > 0 {`, `false && err == nil {`},
	{"limits.go", "a token that survived is waited for as long", `if after > 0 && claim.Survived == yes {`, `if false {`},
	{"limits.go", "an answer is not listened for with takeover never", `listenWithoutTakeover = 10 * time.Minute`, `listenWithoutTakeover = 10 * time.Second`},

	{"breaker.go", "good credentials wait with bad ones", `	if hasFailed {
`, `	if false {
`},
	{"breaker.go", "requests count, and not credentials", `b.recent = slices.DeleteFunc(b.recent, func(known attempt) bool { return known.key == a.key })`, ``},
	{"breaker.go", "three silences open it whatever else is answered", `n >= minNoAnswers && 2*n >= len(b.recent)`, `n >= minNoAnswers`},
	{"breaker.go", "any number tries at a time", `	l.probing, l.since = make(chan struct{}), now
`, ``},
	{"breaker.go", "an endpoint without connections is left alone for long", `return 5 * time.Second // to connect costs nothing`, `return maxCooldown`},
	{"breaker.go", "good credentials do not wait for the one that tries", `case l.probing != nil && now.Sub(l.since) < maxProbe:`, `case false:`},

	{"recovery.go", "all is settled at once", `if running < maxRecoveries && ofProvider[key.Provider] < maxOfProvider {`, `if true {`},
	{"renewal.go", "a cooldown does not hold recovery back", `next.do == spend && r.coolsDown()`, `false && r.coolsDown()`},
	{"recovery.go", "what is known waits behind what is not", `case s.canBeFinished(p, now) && running < maxRecoveries:`, `case false:`},

	{"state.go", "credentials touched once stay in memory", `return s.flight == nil && len`, `return false && len`},
	{"state.go", "a change of the switch is no change", `	if recordOf(cred).disabled() {
`, `	if false {
`},
	{"coordinator.go", "a cooldown is everybody's", `if s.cooldown.active(p, now) && s.cooldown.concerns(rejected) {`, `if s.cooldown.active(p, now) {`},
	{"coordinator.go", "each request with a rejected token counts", `|| s.cooldown.active(p, now) && s.cooldown.concerns(cred) {
		c.mu.Unlock()`, `{
		c.mu.Unlock()`},
	{"flight.go", "a defect ends the proxy", `		defect := recover()
`, `		defect := any(nil)
`},
}
