package modelcheck

import "testing"

// Each flaw breaks the property, in a world in which the protocol without the
// flaw does not.
func TestFlawIsFound(t *testing.T) {
	large(t)
	for name, c := range map[string]config{
		"expiring lock":                             {flaw: expiringLock, only: onceWhileKnown},
		"ambiguous write taken for a win":           {flaw: ambiguousWin, budget: budget{store: 1}, only: onceWhileKnown},
		"no read-back after an unclear claim":       {flaw: noReadBack, never: true, budget: budget{store: 1}, only: noneStuck},
		"commit before journal":                     {flaw: commitBeforeJournal, budget: budget{crashes: 1}, only: noLoss},
		"takeover while the owner may still send":   {flaw: noClockCheck, budget: budget{pauses: 1}, only: onceWhileKnown},
		"adoption of a journal whose owner lives":   {flaw: adoptionOfLiving, only: onceWhileKnown},
		"status not bound to the token":             {flaw: fingerprintIgnored, budget: budget{crashes: 1, operator: 1}, only: noneStuck},
		"release of another's claim":                {flaw: releaseOfAny, budget: budget{pauses: 1}, only: onceWhileKnown},
		"no look-back":                              {flaw: noLookBack, budget: budget{operator: 1}, only: onceWhileKnown},
		"commit over another token":                 {flaw: blindCommit, budget: budget{operator: 1}, only: operatorWins},
		"commit over a deletion":                    {flaw: blindCommit, budget: budget{operator: 1}, only: deletedStays},
		"commit that enables":                       {flaw: blindCommit, budget: budget{operator: 1}, only: disabledStays},
		"commit over a newer token":                 {flaw: blindCommit, budget: budget{store: 1}, only: noWayBack},
		"look-back that ends at another token":      {flaw: shortLookBack, writes: putOther | putOld, budget: budget{operator: 2}, only: onceWhileKnown},
		"short look-back with takeover never":       {flaw: shortLookBack, never: true, budget: budget{operator: 1}, only: neverTwice},
		"look-back that skips what is deleted":      {flaw: unreadableSkipped, writes: putSame | deleting, budget: budget{operator: 2}, only: onceWhileKnown},
		"answer forgotten on deletion":              {flaw: settledByDeletion, writes: deleting, budget: budget{operator: 2}, only: noLoss},
		"claim forgotten on deletion":               {flaw: settledByDeletion, never: true, writes: deleting, budget: budget{pauses: 1, operator: 2}, only: noneStuck},
		"answer forgotten while disabled":           {flaw: droppedWhenDisabled, writes: disabling, budget: budget{operator: 2}, only: noLoss},
		"disabled in place of the claim":            {flaw: disabledIsStatus, writes: disabling | putOther | putOld, budget: budget{operator: 2}, only: onceWhileKnown},
		"refusal over another's claim":              {flaw: refusalOverClaim, budget: budget{pauses: 1}, only: goodReason},
		"commit made again after somebody's write":  {flaw: commitRepeated, budget: budget{store: 1, operator: 1}, only: onceWhileKnown},
		"grace that ends before the spending":       {flaw: graceUnchecked, grace: true, only: onceWhileKnown},
		"claim over a claim taken for the only one": {flaw: graceForgotten, grace: true, only: onceWhileKnown},
		"survival known by provider":                {flaw: survivalByProvider, neighbour: true, only: onceWhileKnown},
		"one deadline to send and to listen":        {flaw: oneDeadline, only: onceWhileKnown},
		"judged before it was adopted":              {flaw: staleAdoption, never: true, stepwise: true, budget: budget{crashes: 1}, only: neverTwice},
		"release of an adopted claim":               {flaw: adoptedReleased, never: true, budget: budget{crashes: 1}, only: neverTwice},
		"destroyed versions block new tokens":       {flaw: unreadableClaims, never: true, writes: putOther | destroying, budget: budget{operator: 2}, only: noneStuck},
		"refusal forgotten behind a deletion":       {flaw: refusalForgotten, replicas: 1, writes: putSame | deleting, budget: budget{server: 1, operator: 3}, only: refusedStays},
		"claim without a read right before":         {flaw: claimUnread, stepwise: true, softDelete: true, budget: budget{operator: 1}, only: deletedStays},
		"503 forgotten on deletion":                 {flaw: unspentForgotten, never: true, writes: deleting, budget: budget{server: 1, operator: 2}, only: noneStuck},
		"503 forgotten on a restart":                {flaw: unspentForgotten, never: true, budget: budget{crashes: 1, server: 1}, only: noneStuck},
		"own answer found by its nonce alone":       {flaw: ownClaimsByNonce, stepwise: true, budget: budget{crashes: 2}, only: onceWhileKnown},
		"own answer and a claim within the grace":   {flaw: ownClaimsByNonce, grace: true, replicas: 2, budget: budget{crashes: 1}, only: onceWhileKnown},
		"owner that listens for too long":           {flaw: listensTooLong, only: onceWhileKnown},
		"takeover as soon as the store is back":     {flaw: takeoverAfterOutage, only: onceWhileKnown},
		"sooner takeover without shorter listening": {flaw: survivedListensLong, keeps: true, only: onceWhileKnown},
		"sooner takeover in spite of never":         {flaw: survivedBeatsNever, never: true, keeps: true, budget: budget{crashes: 1}, only: neverTwice},
		"second process at work":                    {flaw: expiringLock, only: oneAtATime},
	} {
		t.Run(name, func(t *testing.T) {
			c = c.withDefaults()
			f := search(t, c)
			if f == nil {
				t.Fatalf("not found: %v", c.only)
			}
			if f.property != c.only {
				t.Fatalf("found %v, want %v", f.property, c.only)
			}
			c.flaw = sound
			if f := search(t, c); f != nil {
				t.Fatalf("the protocol without the flaw: %v", f.property)
			}
		})
	}
}

// What no protocol over the store alone can give, and SECURITY.md says.
func TestLimits(t *testing.T) {
	for name, c := range map[string]config{
		"takeover gives up an answer that is out of reach": {strict: true, budget: budget{pauses: 1}, only: onceWhileKnown},
		"or whose whole machine is":                        {strict: true, budget: budget{crashes: 1}, only: onceWhileKnown},
		"operators who destroy a claim make it forgotten":  {strict: true, writes: putSame | destroying, budget: budget{operator: 2}, only: onceWhileKnown},
		"a late write passes over a soft deletion":         {softDelete: true, budget: budget{store: 1, operator: 1}, only: deletedStays},
	} {
		t.Run(name, func(t *testing.T) {
			c = c.withDefaults()
			if search(t, c) == nil {
				t.Error("the limit is none: say so in SECURITY.md")
			}
		})
	}
}
