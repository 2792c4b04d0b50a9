package refresh

import (
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// crash is the end of a sidecar that was not asked to end.
type crash struct {
	sender string // as it named itself in its token requests
	at     time.Time
}

const (
	// journalled is how long after an answer was sent a sidecar surely has it on disk.
	journalled = 500 * time.Millisecond

	// underWay is how long after a sidecar's death a request of its may arrive.
	underWay = 500 * time.Millisecond
)

// Reasons for which nobody can have the answer to a token request, or for which it
// has not spent its token.
const (
	notSpent     = "the server did not look at the token"
	kept         = "the server left the token as it was"
	unsent       = "the server lost the answer"
	killedBefore = "the sidecar was killed before the token was spent"
	killedAfter  = "the sidecar was killed before it had the answer on disk"
	killedDenied = "the sidecar was killed before Vault had the refusal"
)

// repeatable returns why a refresh token may be presented at a time although it was
// before; "" if it may not: somebody has the answer, or may still get it.
func repeatable(before authserver.Entry, at time.Time, crashes []crash) (reason string) {
	for _, c := range crashes {
		unanswered := before.Answered.IsZero() || c.at.Before(before.Answered.Add(journalled))
		switch {
		case c.sender != before.Sender, c.at.Before(before.At.Add(-underWay)), c.at.After(at):
		case refusesForGood(before) && c.at.After(before.Settled):
			return killedDenied // that is in no journal: it has no tokens
		case !unanswered:
		case before.Outcome == authserver.Refused, before.Outcome == authserver.Pending:
			return killedBefore
		case before.Outcome == authserver.Rotated, before.Outcome == authserver.Kept, refusesForGood(before):
			// The last if the request of the dead came in after that of its heir, which
			// the server takes for a theft.
			return killedAfter
		}
	}
	switch {
	case before.Answered.IsZero(), at.Before(before.Answered):
		return ""
	case before.Outcome == authserver.Lost:
		return unsent
	case before.Outcome == authserver.Refused:
		return notSpent
	case before.Outcome == authserver.Kept:
		return kept
	}
	return ""
}

func refusesForGood(e authserver.Entry) bool {
	return e.Outcome == authserver.Reused || e.Outcome == authserver.Invalid
}

// loses reports whether the new token may be lost for a reason.
func loses(reason string) bool { return reason == unsent || reason == killedAfter }

// doubleSpend is a refresh token that was presented again without a reason.
type doubleSpend struct{ first, second authserver.Entry }

// audit goes through a ledger. It returns all double spends, and counts the token
// requests that presented a token again with a reason, by that reason.
func audit(ledger []authserver.Entry, crashes []crash) (doubleSpends []doubleSpend, repeated map[string]int) {
	repeated = make(map[string]int)
	before := make(map[string][]authserver.Entry) // by token
	for _, e := range ledger {
		reason := ""
		for _, earlier := range before[e.Token] {
			switch r := repeatable(earlier, e.At, crashes); {
			case r == "":
				doubleSpends = append(doubleSpends, doubleSpend{earlier, e})
			case reason == "" || !loses(reason):
				reason = r
			}
		}
		if reason != "" {
			repeated[reason]++
		}
		before[e.Token] = append(before[e.Token], e)
	}
	return doubleSpends, repeated
}

func TestAuditFindsDoubleSpends(t *testing.T) {
	start := time.Now()
	entry := func(token string, outcome authserver.Outcome, at, settled int) authserver.Entry {
		e := authserver.Entry{Token: token, Sender: "a", Outcome: outcome, At: start.Add(time.Duration(at) * time.Second)}
		if settled > 0 {
			e.Settled = start.Add(time.Duration(settled) * time.Second)
			e.Answered = e.Settled
		}
		return e
	}
	answered := func(e authserver.Entry, at int) authserver.Entry {
		e.Answered = start.Add(time.Duration(at) * time.Second)
		return e
	}
	crashOf := func(sender string, at int) []crash {
		return []crash{{sender, start.Add(time.Duration(at)*time.Second + time.Second/2)}}
	}
	for name, c := range map[string]struct {
		ledger  []authserver.Entry
		crashes []crash
		reason  string // "": it is a double spend
	}{
		"after a rotation":              {ledger: []authserver.Entry{entry("t", authserver.Rotated, 0, 1), entry("t", authserver.Reused, 9, 9)}},
		"before the answer":             {ledger: []authserver.Entry{entry("t", authserver.Refused, 0, 5), entry("t", authserver.Rotated, 3, 3)}},
		"never answered":                {ledger: []authserver.Entry{entry("t", authserver.Pending, 0, 0), entry("t", authserver.Rotated, 3, 3)}},
		"after a refusal for good":      {ledger: []authserver.Entry{entry("t", authserver.Invalid, 0, 1), entry("t", authserver.Invalid, 3, 3)}},
		"killed long after the answer":  {ledger: []authserver.Entry{entry("t", authserver.Rotated, 0, 1), entry("t", authserver.Reused, 9, 9)}, crashes: crashOf("a", 5)},
		"another killed":                {ledger: []authserver.Entry{entry("t", authserver.Rotated, 0, 1), entry("t", authserver.Reused, 9, 9)}, crashes: crashOf("b", 0)},
		"kept, and asked before":        {ledger: []authserver.Entry{entry("t", authserver.Kept, 0, 5), entry("t", authserver.Kept, 3, 3)}},
		"before a late answer":          {ledger: []authserver.Entry{answered(entry("t", authserver.Rotated, 0, 1), 9), entry("t", authserver.Reused, 5, 5)}},
		"kept, before a late answer":    {ledger: []authserver.Entry{answered(entry("t", authserver.Kept, 0, 1), 9), entry("t", authserver.Kept, 5, 5)}},
		"killed after the second":       {ledger: []authserver.Entry{entry("t", authserver.Pending, 0, 0), entry("t", authserver.Reused, 2, 2)}, crashes: crashOf("a", 5)},
		"refused, and killed":           {ledger: []authserver.Entry{entry("t", authserver.Reused, 0, 1), entry("t", authserver.Invalid, 9, 9)}, crashes: crashOf("a", 5), reason: killedDenied},
		"killed, and looked at late":    {ledger: []authserver.Entry{entry("t", authserver.Reused, 0, 5), entry("t", authserver.Rotated, 3, 3)}, crashes: crashOf("a", 1), reason: killedAfter},
		"lost":                          {ledger: []authserver.Entry{entry("t", authserver.Lost, 0, 1), entry("t", authserver.Reused, 3, 3)}, reason: unsent},
		"kept":                          {ledger: []authserver.Entry{entry("t", authserver.Kept, 0, 1), entry("t", authserver.Kept, 3, 3)}, reason: kept},
		"killed before a late answer":   {ledger: []authserver.Entry{answered(entry("t", authserver.Rotated, 0, 1), 9), entry("t", authserver.Reused, 6, 6)}, crashes: crashOf("a", 5), reason: killedAfter},
		"kept, killed before":           {ledger: []authserver.Entry{answered(entry("t", authserver.Kept, 0, 1), 9), entry("t", authserver.Kept, 6, 6)}, crashes: crashOf("a", 5), reason: killedAfter},
		"not looked at":                 {ledger: []authserver.Entry{entry("t", authserver.Refused, 0, 1), entry("t", authserver.Rotated, 3, 3)}, reason: notSpent},
		"killed before the answer":      {ledger: []authserver.Entry{entry("t", authserver.Rotated, 0, 5), entry("t", authserver.Reused, 9, 9)}, crashes: crashOf("a", 2), reason: killedAfter},
		"killed right after sending":    {ledger: []authserver.Entry{entry("t", authserver.Rotated, 1, 2), entry("t", authserver.Reused, 3, 3)}, crashes: []crash{{"a", start.Add(900 * time.Millisecond)}}, reason: killedAfter},
		"killed before the rotation":    {ledger: []authserver.Entry{entry("t", authserver.Refused, 0, 5), entry("t", authserver.Rotated, 3, 3)}, crashes: crashOf("a", 2), reason: killedBefore},
		"killed right after the answer": {ledger: []authserver.Entry{entry("t", authserver.Rotated, 0, 1), entry("t", authserver.Reused, 9, 9)}, crashes: []crash{{"a", start.Add(1100 * time.Millisecond)}}, reason: killedAfter},
	} {
		bad, repeated := audit(append(c.ledger, entry("another", authserver.Rotated, 9, 9)), c.crashes)
		if (len(bad) == 0) != (c.reason != "") || c.reason != "" && repeated[c.reason] != 1 {
			t.Errorf("%s: double spends %+v, repeated %v", name, bad, repeated)
		}
	}
}
