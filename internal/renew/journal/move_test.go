package journal_test

import (
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
)

// A claim is settled while what is pending goes from a broken journal to another one. It
// must not stay in that.
func TestWhatIsSettledWhileAJournalIsReplacedIsNotKept(t *testing.T) {
	machine := journaltest.NewDirectory()
	directory := machine.Start()
	p := journal.NewProcess(func(bool) (journal.Directory, error) { return directory, nil })
	const settled, broken, kept = "settled", "broken", "kept"
	claim := func(nonce string) journal.ClaimRecord {
		return journal.ClaimRecord{Provider: "crm", Tenant: nonce, Nonce: nonce, Fingerprint: strings.Repeat("f", 32)}
	}
	for _, nonce := range []string{settled, kept} {
		if _, err := p.Claim(claim(nonce)); err != nil {
			t.Fatal(err)
		}
	}
	fails := true
	directory.Fault = func(op journaltest.Op, nonce string) error {
		if fails && op == journaltest.OpClaim && nonce == broken {
			fails = false
			return journal.ErrBroken
		}
		return nil
	}
	directory.After = func(op journaltest.Op, nonce string) error {
		if op == journaltest.OpClaim && nonce == kept { // so the one before is on the other side
			p.Settle(settled)
		}
		return nil
	}
	if _, err := p.Claim(claim(broken)); err != nil {
		t.Fatal(err)
	}
	directory.Kill()

	adopted, left, err := machine.Start().Adopt()
	if err != nil || len(left) > 0 || len(adopted) != 1 {
		t.Fatal(adopted, left, err)
	}
	var found []string
	for _, pending := range adopted[0].Unsettled() {
		found = append(found, pending.Nonce)
	}
	if got := strings.Join(found, " "); got != kept+" "+broken {
		t.Errorf("the journal that took its place has %s", got)
	}
}
