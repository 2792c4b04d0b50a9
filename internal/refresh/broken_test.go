package refresh

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal/journaltest"
)

var (
	errBroken = fmt.Errorf("%w: input/output error", journal.ErrBroken)
	errFull   = errors.New("no space left on device")
)

// fails makes an operation of a journal fail with err, for a nonce, from its n-th
// time on and so often.
func fails(op journaltest.Op, nonce string, n, times int, err error) func(journaltest.Op, string) error {
	seen := 0
	return func(got journaltest.Op, with string) error {
		if got != op || nonce != "" && with != nonce {
			return nil
		}
		if seen++; seen >= n && seen < n+times {
			return err
		}
		return nil
	}
}

func TestABrokenJournalIsReplacedByOneWithAllThatWasInIt(t *testing.T) {
	for name, test := range map[string]struct {
		fault, after func(journaltest.Op, string) error
	}{
		"a claim, before it was written":   {fault: fails(journaltest.OpClaim, "n4", 1, 1, errBroken)},
		"a claim, after it was written":    {after: fails(journaltest.OpClaim, "n4", 1, 1, errBroken)},
		"an answer, before it was written": {fault: fails(journaltest.OpAnswer, "n4", 1, 1, errBroken)},
		"an answer, after it was written":  {after: fails(journaltest.OpAnswer, "n4", 1, 1, errBroken)},
	} {
		t.Run(name, func(t *testing.T) {
			directory := journaltest.NewDirectory()
			process := directory.Start()
			process.Fault, process.After = test.fault, test.after
			n := newNotes(storetest.NewMemory(), process)
			mustClaim(t, n, "n1", "n2", "n3")
			if err := n.answer("n2", answerFor("n2")); err != nil {
				t.Fatal(err)
			}
			n.settle("n3")
			before := directory.IDs()[0]
			mustClaim(t, n, "n4")
			if err := n.answer("n4", answerFor("n4")); err != nil {
				t.Fatal(err)
			}
			if ids := directory.IDs(); len(ids) != 1 || ids[0] == before {
				t.Errorf("journals %v, and before %v", ids, before)
			}
			if owner, err := n.claim(noteFor("n5")); err != nil || owner != directory.IDs()[0] {
				t.Errorf("owner %q, %v", owner, err)
			}
			wantLeft(t, directory) // its owner lives
			process.Kill()
			wantLeft(t, directory, "n1", "n2+", "n4+", "n5")
		})
	}
}

func TestAReplacementThatFailsLeavesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		op    journaltest.Op
		nonce string
		n     int
	}{
		"its file cannot be made":     {journaltest.OpOpen, "", 2},
		"its first claim fails":       {journaltest.OpClaim, "n1", 2},
		"its second claim fails":      {journaltest.OpClaim, "n2", 2},
		"its answer fails":            {journaltest.OpAnswer, "n1", 2},
		"the claim that is new to it": {journaltest.OpClaim, "n3", 2},
	} {
		for kind, failure := range map[string]error{"for now": errFull, "for good": errBroken} {
			t.Run(name+" "+kind, func(t *testing.T) {
				directory := journaltest.NewDirectory()
				process := directory.Start()
				breaks, again := fails(journaltest.OpClaim, "n3", 1, 1, errBroken), fails(test.op, test.nonce, test.n, 1, failure)
				process.Fault = func(op journaltest.Op, nonce string) error {
					return errors.Join(breaks(op, nonce), again(op, nonce))
				}
				n := newNotes(storetest.NewMemory(), process)
				mustClaim(t, n, "n1", "n2")
				if err := n.answer("n1", answerFor("n1")); err != nil {
					t.Fatal(err)
				}
				if owner, err := n.claim(noteFor("n3")); !errors.Is(err, errNoNotes) || owner != "" {
					t.Fatalf("owner %q, %v", owner, err)
				}
				wantLeft(t, directory) // the living one's, and nothing that looks dead
				if ids := directory.IDs(); len(ids) != 1 {
					t.Errorf("journals %v", ids)
				}
				mustClaim(t, n, "n4") // the next one gets through
				if ids := directory.IDs(); len(ids) != 1 {
					t.Errorf("journals %v", ids)
				}
				process.Kill()
				wantLeft(t, directory, "n1+", "n2", "n4")
			})
		}
	}
}

func TestAfterAFailedReplacementNothingIsLost(t *testing.T) {
	directory := journaltest.NewDirectory()
	process := directory.Start()
	breaks, opens := fails(journaltest.OpAnswer, "n2", 1, 1, errBroken), fails(journaltest.OpOpen, "", 2, 3, errFull)
	process.Fault = func(op journaltest.Op, nonce string) error { return errors.Join(breaks(op, nonce), opens(op, nonce)) }
	n := newNotes(storetest.NewMemory(), process)
	mustClaim(t, n, "n1", "n2")
	if err := n.answer("n1", answerFor("n1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := n.answer("n2", answerFor("n2")); !errors.Is(err, errNoNotes) {
			t.Fatalf("got %v", err)
		}
		wantLeft(t, directory)
	}
	if err := n.answer("n2", answerFor("n2")); err != nil {
		t.Fatal(err)
	}
	process.Kill()
	wantLeft(t, directory, "n1+", "n2+")
}

func TestAClaimThatCannotBeNotedIsNotMade(t *testing.T) {
	for name, test := range map[string]struct {
		fault, after func(journaltest.Op, string) error
	}{
		"no file":                     {fault: fails(journaltest.OpOpen, "", 1, 1000, errFull)},
		"a full disk":                 {fault: fails(journaltest.OpClaim, "", 1, 1000, errFull)},
		"a broken disk":               {fault: fails(journaltest.OpClaim, "", 1, 1000, errBroken)},
		"a disk that does not sync":   {after: fails(journaltest.OpClaim, "", 1, 1000, errBroken)},
		"an answer that lost its way": {after: fails(journaltest.OpClaim, "", 1, 1000, errFull)},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				works := false
				hook := func(h func(journaltest.Op, string) error) func(journaltest.Op, string) error {
					return func(op journaltest.Op, nonce string) error {
						if works || h == nil {
							return nil
						}
						return h(op, nonce)
					}
				}
				r.process.Fault, r.process.After = hook(test.fault), hook(test.after)
				before := f.stored()
				for range 5 {
					fresh, err := r.refresh(before)
					wantError(t, fresh, err, ErrFailed)
					wantError(t, fresh, err, errNoNotes)
					time.Sleep(2 * time.Second)
				}
				f.wantAsked(0)
				if v := f.stored().Version(); v != before.Version() {
					t.Errorf("version %d: claimed", v)
				}
				f.wantLog("level=ERROR")
				f.wantLog("no refresh without a journal")

				works = true
				fresh, err := r.refresh(before)
				wantToken(t, fresh, err, "canary-a2")
				r.settled()
				r.kill()
				wantLeft(t, f.journals)
			})
		})
	}
}

func TestWithoutTheJournalsKeyNothingIsClaimed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		if _, err := f.store.Put(t.Context(), credential.JournalKey(), []byte(`{"key":"canary"}`), 0); err != nil {
			t.Fatal(err)
		}
		r := f.replica(nil)
		r.Start()
		before := f.stored()
		for range 10 {
			fresh, err := r.refresh(before)
			wantError(t, fresh, err, ErrFailed)
			time.Sleep(time.Minute)
		}
		f.wantAsked(0)
		if v := f.stored().Version(); v != before.Version() {
			t.Errorf("version %d: claimed", v)
		}
		f.wantLog("damaged")
	})
}

func TestAnAnswerThatCannotBeNotedIsNotedWhileTheCommitWaits(t *testing.T) {
	for name, failure := range map[string]error{"a full disk": errFull, "a broken one": errBroken} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				rejected := f.stored()
				r := f.replica(nil)
				var full atomic.Bool
				r.process.Fault = func(op journaltest.Op, _ string) error {
					if full.Load() && (op == journaltest.OpAnswer || op == journaltest.OpOpen) {
						return failure
					}
					return nil
				}
				f.answers(func(form url.Values) (int, string) {
					full.Store(true)
					r.store.puts(lost)
					return rotate(form)
				})
				fresh, err := r.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				f.wantLog("new tokens are in memory only")
				f.wantLog("in_journal=false")
				f.wantNoLog("in_journal=true")
				time.Sleep(time.Minute)
				full.Store(false)
				time.Sleep(2 * maxCommitPause)
				f.wantLog("in_journal=true")
				r.kill()

				other := f.replica(nil)
				other.Start()
				time.Sleep(5 * time.Second)
				wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
				f.wantAsked(1)
				f.wantRecord(readyFor("canary-r2"))
			})
		})
	}
}

func TestAnAnswerThatIsNeverNotedIsCommittedAllTheSame(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		r.process.Fault = fails(journaltest.OpAnswer, "", 1, 1000, errFull)
		fresh, err := r.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		r.settled()
		f.wantRecord(readyFor("canary-r2"))
		r.kill()
		wantLeft(t, f.journals)
	})
}

// TestOneClaimInTwoJournals is what is found when a process died while it went over
// from a broken journal to another.
func TestOneClaimInTwoJournals(t *testing.T) {
	for name, answered := range map[string][2]bool{
		"no answer": {false, false}, "in the first": {true, false}, "in the second": {false, true}, "in both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				rejected := f.claimedBy("n1")
				dead := f.journals.Start()
				for _, with := range answered {
					n := newNotes(f.store, dead)
					note := noteFor("n1")
					note.BaseVersion = rejected.Version() - 1
					if _, err := n.claim(note); err != nil {
						t.Fatal(err)
					}
					if with {
						a := &answer{status: 200, contentType: "application/json", body: []byte(granted)}
						if err := n.answer("n1", journal.Answer{SpentToken: "canary-r1", Response: a.raw(), At: time.Now()}); err != nil {
							t.Fatal(err)
						}
					}
				}
				dead.Kill()
				if n := len(f.journals.IDs()); n != 2 {
					t.Fatalf("%d journals", n)
				}
				r := f.replica(nil)
				r.Start()
				time.Sleep(5 * time.Second)
				fresh, err := r.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				r.settled()
				f.wantRecord(readyFor("canary-r2"))
				if answered == [2]bool{} {
					f.wantAsked(1)
					f.wantLog("total=1")
				} else {
					f.wantAsked(0)
				}
				r.kill()
				wantLeft(t, f.journals)
				if strings.Contains(f.log.String(), "in_a_row") {
					t.Errorf("log: %s", f.log.String())
				}
			})
		})
	}
}
