package journaltest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryKeepsTheContract(t *testing.T) {
	Test(t, func(*testing.T) func() Killable {
		d := NewDirectory()
		return func() Killable { return d.Start() }
	})
}

func TestMemoryCanBeUsedInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewDirectory().Start()
		p.Fault = func(Op, string) error { time.Sleep(time.Hour); return nil }
		j := mustOpen(t, p)
		go func() {
			time.Sleep(90 * time.Minute)
			p.Kill()
		}()
		must(t, j.Claim(note(1)))
		wantError(t, "an answer when the process is dead", j.Answer("nonce1", answer(1)), journal.ErrClosed)
	})
}

var errDisk = errors.New("disk")

func TestFaultKeepsAnOperationFromBeingDone(t *testing.T) {
	for _, op := range []Op{OpOpen, OpAdopt, OpClaim, OpAnswer, OpSettle, OpClose} {
		t.Run(string(op), func(t *testing.T) {
			got := journalAfter(t, op, func(p *Process, at func(Op, string) error) { p.Fault = at })
			switch op {
			case OpOpen, OpClaim:
				wantEntries(t, got)
			case OpAnswer:
				wantEntries(t, got, open(1))
			case OpAdopt, OpSettle:
				wantEntries(t, got, answered(1))
			case OpClose: // All is settled; the file is left, and found empty.
				wantEntries(t, got)
			}
		})
	}
}

func TestAfterReplacesTheAnswerOfWhatIsDone(t *testing.T) {
	for _, op := range []Op{OpOpen, OpAdopt, OpClaim, OpAnswer, OpSettle, OpClose} {
		t.Run(string(op), func(t *testing.T) {
			got := journalAfter(t, op, func(p *Process, at func(Op, string) error) { p.After = at })
			switch op {
			case OpOpen, OpSettle, OpClose:
				wantEntries(t, got)
			case OpClaim:
				wantEntries(t, got, open(1))
			case OpAnswer, OpAdopt:
				wantEntries(t, got, answered(1))
			}
		})
	}
}

// journalAfter returns what another process adopts after one did all it can, up to an
// op that failed.
func journalAfter(t *testing.T, failing Op, set func(p *Process, at func(Op, string) error)) []journal.PendingClaim {
	t.Helper()
	d := NewDirectory()
	p := d.Start()
	set(p, func(op Op, nonce string) error {
		if want := map[Op]bool{OpClaim: true, OpAnswer: true, OpSettle: true}; want[op] != (nonce == "nonce1") {
			t.Errorf("%s is told the nonce %q", op, nonce)
		}
		if op == failing {
			return errDisk
		}
		return nil
	})
	j, err := p.Open()
	if failing == OpOpen {
		wantError(t, "open", err, errDisk)
		return adoptAll(t, d.Start())
	}
	must(t, err)
	for _, step := range []struct {
		op Op
		do func() error
	}{
		{OpClaim, func() error { return j.Claim(note(1)) }},
		{OpAnswer, func() error { return j.Answer("nonce1", answer(1)) }},
		{OpAdopt, func() error { _, _, err := p.Adopt(); return err }},
		{OpSettle, func() error { return j.Settle("nonce1") }},
		{OpClose, j.Close},
	} {
		err := step.do()
		if step.op == failing {
			wantError(t, string(failing), err, errDisk)
			break
		}
		must(t, err)
	}
	if failing == OpSettle {
		wantEntries(t, j.Unsettled())
	}
	if failing != OpClose {
		p.Kill()
	}
	return adoptAll(t, d.Start())
}

func TestFailedAdoptionHoldsNothing(t *testing.T) {
	d := NewDirectory()
	p := d.Start()
	must(t, mustOpen(t, p).Claim(note(1)))
	p.Kill()
	failing := d.Start()
	failing.After = func(Op, string) error { return errDisk }
	_, _, err := failing.Adopt()
	wantError(t, "adopt", err, errDisk)
	wantEntries(t, adoptAll(t, d.Start()), open(1))
}

func TestBrokenJournalStaysBroken(t *testing.T) {
	d := NewDirectory()
	p := d.Start()
	calls := 0
	p.After = func(op Op, _ string) error {
		if calls++; op == OpAnswer {
			return journal.ErrBroken
		}
		return nil
	}
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	wantError(t, "the answer", j.Answer("nonce1", answer(1)), journal.ErrBroken)
	before := calls
	wantError(t, "a claim", j.Claim(note(2)), journal.ErrBroken)
	wantError(t, "a settlement", j.Settle("none"), journal.ErrBroken)
	if calls != before {
		t.Error("the hook was asked about a journal that is broken")
	}
	wantEntries(t, j.Unsettled(), answered(1))
	if _, _, err := d.Start().Adopt(); err != nil || d.files[0].owner != p {
		t.Errorf("a broken journal is not held any more; error %v", err)
	}
	must(t, j.Close())
}

func TestPowerFailureBringsSettledEntriesBack(t *testing.T) {
	d := NewDirectory()
	p := d.Start()
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	must(t, j.Settle("nonce1"))
	must(t, j.Claim(note(2)))
	must(t, j.Settle("nonce2"))
	p.LosePower()
	wantEntries(t, adoptAll(t, d.Start()), open(2))
}

func TestIDsAreWhatTheSeedSays(t *testing.T) {
	ids := []string{"first", "second"}
	next := 0
	d := NewSeeded(func() string { next++; return ids[next-1] })
	p := d.Start()
	must(t, mustOpen(t, p).Claim(note(1)))
	mustOpen(t, p)
	if got := d.IDs(); len(got) != 2 || got[0] != "first" || got[1] != "second" {
		t.Errorf("ids are %v", got)
	}
}

func adoptAll(t *testing.T, p *Process) []journal.PendingClaim {
	t.Helper()
	adopted, left, err := p.Adopt()
	if err != nil || left != nil {
		t.Fatalf("left %v, error %v", left, err)
	}
	var entries []journal.PendingClaim
	for _, a := range adopted {
		entries = append(entries, a.Unsettled()...)
	}
	return entries
}

func wantEntries(t *testing.T, got []journal.PendingClaim, want ...journal.PendingClaim) {
	t.Helper()
	if describe(got) != describe(want) {
		t.Errorf("entries are %s, want %s", describe(got), describe(want))
	}
}
