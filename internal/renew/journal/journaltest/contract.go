package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

// Killable is one process's view of a directory, and the process's end: it frees
// what the process has open and does nothing else.
type Killable interface {
	journal.Directory
	Kill()
}

// Test fails t unless the processes that start begins do what [journal.Directory]
// promises. Directory is called once a sub-test and returns start for a new, empty
// directory; each call of start begins another process that uses it.
func Test(t *testing.T, directory func(t *testing.T) (start func() Killable)) {
	for name, check := range map[string]func(t *testing.T, start func() Killable){
		"an empty directory has nothing to adopt":        checkEmpty,
		"each journal has an id of its own":              checkIDs,
		"entries are told until they are settled":        checkLife,
		"entries are the journal's own copies":           checkCopies,
		"a nonce has one claim and one answer":           checkNonces,
		"what is too large is refused":                   checkLimits,
		"the living are not adopted":                     checkLiving,
		"the dead are adopted by one":                    checkDead,
		"what was noted is what is adopted":              checkRoundTrip,
		"what is settled by its adopter is gone":         checkSettled,
		"what is not settled by its adopter stays":       checkPartlySettled,
		"an adopter can die":                             checkAdopterDies,
		"a closed journal is left if it has something":   checkClosed,
		"a closed journal takes nothing":                 checkAfterClose,
		"many goroutines share a journal":                checkConcurrent,
		"many goroutines adopt, and each journal once":   checkRace,
		"journals come and go while others adopt":        checkComeAndGo,
		"a killed process's journals are of no more use": checkKilled,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { check(t, directory(t)) })
	}
}

func checkEmpty(t *testing.T, start func() Killable) {
	p := start()
	wantAdopted(t, p)
	mustOpen(t, p)
	wantAdopted(t, p)
}

func checkIDs(t *testing.T, start func() Killable) {
	p := start()
	seen := make(map[string]bool)
	for range 8 {
		id := mustOpen(t, p).ID()
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || seen[id] {
			t.Errorf("id %q, after %d others", id, len(seen))
		}
		seen[id] = true
	}
}

func checkLife(t *testing.T, start func() Killable) {
	j := mustOpen(t, start())
	wantUnsettled(t, j)
	must(t, j.Claim(note(1)))
	wantUnsettled(t, j, open(1))
	must(t, j.Claim(note(2)))
	must(t, j.Claim(note(3)))
	must(t, j.Answer("nonce2", answer(2)))
	wantUnsettled(t, j, open(1), answered(2), open(3))
	must(t, j.Settle("nonce1"))
	wantUnsettled(t, j, answered(2), open(3))
	must(t, j.Settle("nonce1"))
	must(t, j.Settle("nonce2"))
	must(t, j.Answer("nonce3", answer(3)))
	wantUnsettled(t, j, answered(3))
	must(t, j.Settle("nonce3"))
	must(t, j.Settle("never claimed"))
	wantUnsettled(t, j)
}

func checkCopies(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	a := answer(1)
	must(t, j.Claim(note(1)))
	before := j.Unsettled()
	must(t, j.Answer("nonce1", a))
	after := j.Unsettled()
	clear(a.Response)
	must(t, j.Claim(note(2)))
	must(t, j.Settle("nonce1"))
	if !reflect.DeepEqual(before, []journal.PendingClaim{open(1)}) {
		t.Errorf("the entries told before the answer became %v", before)
	}
	if !reflect.DeepEqual(after, []journal.PendingClaim{answered(1)}) {
		t.Errorf("the entries told before the settlement became %v", after)
	}
}

func checkNonces(t *testing.T, start func() Killable) {
	j := mustOpen(t, start())
	must(t, j.Claim(note(1)))
	wantError(t, "a second claim", j.Claim(note(1)), journal.ErrNonce)
	wantError(t, "a claim without a nonce", j.Claim(journal.ClaimRecord{Provider: "p", Tenant: "t"}), journal.ErrNonce)
	wantError(t, "an answer without a claim", j.Answer("nonce2", answer(2)), journal.ErrNonce)
	must(t, j.Answer("nonce1", answer(1)))
	wantError(t, "a second answer", j.Answer("nonce1", answer(2)), journal.ErrNonce)
	wantUnsettled(t, j, answered(1))
	must(t, j.Settle("nonce1"))
	wantError(t, "an answer to what is settled", j.Answer("nonce1", answer(1)), journal.ErrNonce)
	wantUnsettled(t, j)
}

func checkLimits(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	full := note(1)
	full.Fingerprint = strings.Repeat("f", journal.MaxText)
	must(t, j.Claim(full))
	large := answer(1)
	large.Response = bytes.Repeat([]byte("r"), journal.MaxResponse)
	large.SpentToken = strings.Repeat("s", journal.MaxResponse)

	larger := large
	larger.Response = append(bytes.Clone(large.Response), 'r')
	wantError(t, "too long a response", j.Answer("nonce1", larger), journal.ErrTooLarge)
	larger = large
	larger.SpentToken += "s"
	wantError(t, "too long a token", j.Answer("nonce1", larger), journal.ErrTooLarge)
	n := note(2)
	for _, field := range []*string{&n.Provider, &n.Tenant, &n.Nonce, &n.Fingerprint} {
		n = note(2)
		*field = strings.Repeat("x", journal.MaxText+1)
		wantError(t, "too long a note", j.Claim(n), journal.ErrTooLarge)
	}
	must(t, j.Answer("nonce1", large))
	p.Kill()
	wantUnsettled(t, wantAdopted(t, start(), j.ID())[0], journal.PendingClaim{ClaimRecord: full, Answer: &large})
}

func checkLiving(t *testing.T, start func() Killable) {
	p, other := start(), start()
	first, second := mustOpen(t, p), mustOpen(t, p)
	must(t, first.Claim(note(1)))
	wantAdopted(t, p)
	wantAdopted(t, other)
	must(t, first.Answer("nonce1", answer(1)))
	must(t, second.Claim(note(2)))
	wantUnsettled(t, first, answered(1))
	wantUnsettled(t, second, open(2))
}

func checkDead(t *testing.T, start func() Killable) {
	p := start()
	first, second, empty := mustOpen(t, p), mustOpen(t, p), mustOpen(t, p)
	must(t, first.Claim(note(1)))
	must(t, second.Claim(note(2)))
	must(t, empty.Claim(note(3)))
	must(t, empty.Settle("nonce3"))
	p.Kill()
	one, other := start(), start()
	wantAdopted(t, one, first.ID(), second.ID())
	wantAdopted(t, other)
	wantAdopted(t, one)
}

func checkRoundTrip(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	odd := journal.PendingClaim{
		ClaimRecord: journal.ClaimRecord{Provider: "\xff\x00", Tenant: "", Nonce: "\n", Fingerprint: "é", BaseVersion: 1<<64 - 1},
		Answer:      &journal.Answer{SpentToken: "\xc3\x28", Response: []byte{0, 255, '"'}, At: time.Unix(-1, 999).UTC()},
	}
	must(t, j.Claim(odd.ClaimRecord))
	must(t, j.Claim(note(1)))
	must(t, j.Claim(note(2)))
	must(t, j.Claim(note(3)))
	must(t, j.Settle("nonce2"))
	must(t, j.Answer("nonce3", answer(3)))
	must(t, j.Answer(odd.Nonce, *odd.Answer))
	p.Kill()
	wantUnsettled(t, wantAdopted(t, start(), j.ID())[0], odd, open(1), answered(3))
}

func checkSettled(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	must(t, j.Claim(note(2)))
	must(t, j.Answer("nonce1", answer(1)))
	p.Kill()
	adopter := start()
	a := wantAdopted(t, adopter, j.ID())[0]
	must(t, a.Settle("nonce2"))
	must(t, a.Settle("nonce1"))
	must(t, a.Settle("nonce1"))
	wantUnsettled(t, a)
	must(t, a.Close())
	wantAdopted(t, adopter)
}

func checkPartlySettled(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	for i := range 3 {
		must(t, j.Claim(note(i)))
	}
	p.Kill()
	adopter := start()
	a := wantAdopted(t, adopter, j.ID())[0]
	must(t, a.Settle("nonce1"))
	must(t, a.Close())
	again := wantAdopted(t, adopter, j.ID())[0]
	wantUnsettled(t, again, open(0), open(2))
}

func checkAdopterDies(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	must(t, j.Claim(note(2)))
	p.Kill()
	adopter := start()
	own := mustOpen(t, adopter)
	must(t, own.Claim(note(3)))
	a := wantAdopted(t, adopter, j.ID())[0]
	must(t, a.Settle("nonce1"))
	adopter.Kill()
	got := wantAdopted(t, start(), j.ID(), own.ID())
	wantUnsettled(t, got[0], open(2))
	wantUnsettled(t, got[1], open(3))
}

func checkClosed(t *testing.T, start func() Killable) {
	p := start()
	left, empty := mustOpen(t, p), mustOpen(t, p)
	must(t, left.Claim(note(1)))
	must(t, empty.Claim(note(2)))
	must(t, empty.Settle("nonce2"))
	must(t, left.Close())
	must(t, empty.Close())
	wantUnsettled(t, wantAdopted(t, p, left.ID())[0], open(1))
}

func checkAfterClose(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	must(t, j.Close())
	must(t, j.Close())
	wantError(t, "a claim", j.Claim(note(2)), journal.ErrClosed)
	wantError(t, "an answer", j.Answer("nonce1", answer(1)), journal.ErrClosed)
	wantError(t, "a settlement", j.Settle("nonce1"), journal.ErrClosed)
	a := wantAdopted(t, p, j.ID())[0]
	must(t, j.Close())
	wantAdopted(t, p) // A second Close does not free what somebody else has by now.
	wantUnsettled(t, a, open(1))
}

func checkKilled(t *testing.T, start func() Killable) {
	p := start()
	j := mustOpen(t, p)
	must(t, j.Claim(note(1)))
	p.Kill()
	a := wantAdopted(t, start(), j.ID())[0]
	for op, err := range map[string]error{"a claim": j.Claim(note(2)), "an answer": j.Answer("nonce1", answer(1))} {
		if err == nil {
			t.Errorf("%s got an answer", op)
		}
	}
	wantUnsettled(t, a, open(1))
}

func checkConcurrent(t *testing.T, start func() Killable) {
	const writers, claims = 8, 12
	p := start()
	j := mustOpen(t, p)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for c := range claims {
				i := w*claims + c
				err := errors.Join(j.Claim(note(i)), j.Answer(note(i).Nonce, answer(i)))
				if c%3 > 0 {
					err = errors.Join(err, j.Settle(note(i).Nonce))
				}
				if err != nil {
					t.Error(err)
				}
				_ = j.Unsettled()
			}
		})
	}
	group.Wait()
	p.Kill()
	got := wantAdopted(t, start(), j.ID())[0].Unsettled()
	if len(got) != writers*claims/3 {
		t.Errorf("%d entries are unsettled, want %d", len(got), writers*claims/3)
	}
	for _, e := range got {
		var i int
		if _, err := fmt.Sscanf(e.Nonce, "nonce%d", &i); err != nil || i%claims%3 != 0 || !reflect.DeepEqual(e, answered(i)) {
			t.Errorf("entry %v, error %v", e, err)
		}
	}
}

func checkRace(t *testing.T, start func() Killable) {
	const dead, adopters = 6, 16
	for i := range dead {
		p := start()
		must(t, mustOpen(t, p).Claim(note(i)))
		p.Kill()
	}
	var mu sync.Mutex
	taken := make(map[string]int)
	var group sync.WaitGroup
	for range adopters {
		p := start()
		group.Go(func() {
			adopted, left, err := p.Adopt()
			if err != nil || len(left) > 0 {
				t.Errorf("left %v, error %v", left, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range adopted {
				taken[a.ID()]++
			}
		})
	}
	group.Wait()
	for id, times := range taken {
		if times != 1 {
			t.Errorf("%s was adopted %d times", id, times)
		}
	}
	if len(taken) != dead {
		t.Errorf("%d journals were adopted, want %d", len(taken), dead)
	}
}

func checkComeAndGo(t *testing.T, start func() Killable) {
	done := make(chan struct{})
	var adopters, owners sync.WaitGroup
	for range 2 {
		p := start()
		adopters.Go(func() {
			for {
				adopted, left, err := p.Adopt()
				if err != nil || len(left) > 0 || len(adopted) > 0 {
					t.Errorf("adopted %v, left %v, error %v", adopted, left, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 4 {
		p := start()
		owners.Go(func() {
			for i := range 20 {
				j, err := p.Open()
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(j.Claim(note(i)), j.Settle(note(i).Nonce), j.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	owners.Wait()
	close(done)
	adopters.Wait()
}
