package modelcheck

// flaw is one way to get the protocol wrong. The search must find each.
type flaw uint8

const (
	sound flaw = iota

	// Well-known mistakes.
	expiringLock        // a claim is ignored after a time, whatever its owner does
	ambiguousWin        // a claim with an unclear answer is taken for a win
	noReadBack          // a claim with an unclear answer is taken for a failure
	commitBeforeJournal // new tokens are written to the store, then to the journal
	noClockCheck        // no look at the clock before the request is written
	adoptionOfLiving    // a journal is adopted whose owner lives
	fingerprintIgnored  // the status counts for any token
	releaseOfAny        // a release does not look at the nonce
	noLookBack          // older versions are not looked at
	blindCommit         // a commit does not look at what others wrote meanwhile

	// What earlier forms of this protocol did.
	shortLookBack       // the look-back ends at the first keyed version or other token
	unreadableSkipped   // the look-back passes over versions that cannot be read
	unreadableClaims    // a version that cannot be read counts as a claim on any token
	refusalForgotten    // a refusal below a version that cannot be read counts as a claim
	settledByDeletion   // what is known is forgotten when the document is deleted
	droppedWhenDisabled // new tokens are not written into a disabled document
	disabledIsStatus    // disabling takes the place of the claim
	refusalOverClaim    // invalid_grant is written over somebody else's claim
	commitRepeated      // a commit does not look whether it was in before somebody went back
	graceForgotten      // a claim made over another within the grace is treated as if it were the only one
	graceUnchecked      // the claim that is claimed over may be as old as the whole grace
	survivalByProvider  // a token is spent without a claim once another tenant's was seen to survive
	oneDeadline         // the answer is listened for no longer than the token may be sent
	staleAdoption       // what was adopted is judged by a document that was read before
	adoptedReleased     // an exited process's claim without an answer is released
	claimUnread         // no read right before the claim is written
	unspentForgotten    // that a token was not looked at is not recorded
	ownClaimsByNonce    // what a process has itself counts only if the document shows its nonce

	// What the two deadlines and the mark of survival must not do.
	listensTooLong      // others may take over from who still listens
	takeoverAfterOutage // so they may from who has an answer, once the store is back
	survivedListensLong // others may take over sooner from who does not listen for less
	survivedBeatsNever  // a token that survived its use is taken over in spite of takeover never
)
