package modelcheck

import "testing"

// Each flaw breaks the property, in a world in which the protocol without the
// flaw does not.
func TestFlawIsFound(t *testing.T) {
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
		"look-back that ends at another token":      {flaw: shortLookBack, budget: budget{operator: 2}, only: onceWhileKnown},
		"short look-back with takeover never":       {flaw: shortLookBack, never: true, budget: budget{operator: 1}, only: neverTwice},
		"look-back that skips what is deleted":      {flaw: unreadableSkipped, budget: budget{operator: 2}, only: onceWhileKnown},
		"answer forgotten on deletion":              {flaw: settledByDeletion, budget: budget{operator: 2}, only: noLoss},
		"claim forgotten on deletion":               {flaw: settledByDeletion, never: true, budget: budget{pauses: 1, operator: 2}, only: noneStuck},
		"answer forgotten while disabled":           {flaw: droppedWhenDisabled, budget: budget{operator: 2}, only: noLoss},
		"disabled in place of the claim":            {flaw: disabledIsStatus, budget: budget{operator: 2}, only: onceWhileKnown},
		"refusal over another's claim":              {flaw: refusalOverClaim, budget: budget{pauses: 1}, only: goodReason},
		"commit made again after somebody's write":  {flaw: commitRepeated, budget: budget{store: 1, operator: 1}, only: onceWhileKnown},
		"grace that ends before the spending":       {flaw: graceUnchecked, grace: true, only: onceWhileKnown},
		"claim over a claim taken for the only one": {flaw: graceForgotten, grace: true, only: onceWhileKnown},
		"second process at work":                    {flaw: expiringLock, only: oneAtATime},
	} {
		t.Run(name, func(t *testing.T) {
			c.replicas, c.rotations, c.writes = maxReplicas, 2, everything
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
		"a late write passes over a soft deletion":         {softDelete: true, budget: budget{store: 1, operator: 1}, only: deletedStays},
	} {
		t.Run(name, func(t *testing.T) {
			c.replicas, c.rotations, c.writes = maxReplicas, 2, everything
			if search(t, c) == nil {
				t.Error("the limit is none: say so in SECURITY.md")
			}
		})
	}
}
