package journaltest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

func note(i int) journal.ClaimRecord {
	return journal.ClaimRecord{
		Provider: "billing", Tenant: fmt.Sprintf("tenant%d", i), Nonce: fmt.Sprintf("nonce%d", i),
		Fingerprint: fmt.Sprintf("fingerprint%d", i), BaseVersion: uint64(i),
	}
}

func answer(i int) journal.Answer {
	return journal.Answer{
		SpentToken: fmt.Sprintf("spent%d", i), Response: fmt.Appendf(nil, `{"refresh_token":"new%d"}`, i),
		At: time.Date(2026, time.January, 1, 0, 0, i, i, time.UTC),
	}
}

func open(i int) journal.PendingClaim { return journal.PendingClaim{ClaimRecord: note(i)} }

func answered(i int) journal.PendingClaim {
	a := answer(i)
	return journal.PendingClaim{ClaimRecord: note(i), Answer: &a}
}

func mustOpen(t *testing.T, p Killable) journal.Journal {
	t.Helper()
	j, err := p.Open()
	must(t, err)
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// wantAdopted lets p adopt and ends the test unless it gets those journals. It
// returns them in this order.
func wantAdopted(t *testing.T, p Killable, ids ...string) []journal.Adopted {
	t.Helper()
	adopted, left, err := p.Adopt()
	if err != nil || len(left) > 0 {
		t.Fatalf("left %v, error %v", left, err)
	}
	if len(adopted) != len(ids) {
		t.Fatalf("%d journals were adopted, want %d", len(adopted), len(ids))
	}
	ordered := make([]journal.Adopted, len(ids))
	for i, id := range ids {
		for _, a := range adopted {
			if a.ID() == id {
				ordered[i] = a
			}
		}
		if ordered[i] == nil {
			t.Fatalf("journal %d was not adopted", i)
		}
	}
	return ordered
}

func wantUnsettled(t *testing.T, j journal.Adopted, want ...journal.PendingClaim) {
	t.Helper()
	got := j.Unsettled()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("unsettled is %s, want %s", describe(got), describe(want))
	}
}

func describe(entries []journal.PendingClaim) string {
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&text, "\n\t%.100q", fmt.Sprintf("%+v", e.ClaimRecord))
		if e.Answer != nil {
			fmt.Fprintf(&text, " %.100q %.100q %v", e.Answer.SpentToken, e.Answer.Response, e.Answer.At)
		}
	}
	return text.String()
}
