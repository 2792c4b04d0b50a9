package refresh

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal/journaltest"
)

var discarded = slog.New(slog.DiscardHandler)

// newNotes are a process's in a store and a directory of journals.
func newNotes(store credential.Store, process *journaltest.Process) *notes {
	return &notes{store: store, id: newNonce(), directory: func([]byte) (journal.Directory, error) { return process, nil }}
}

func noteFor(nonce string) journal.Note {
	return journal.Note{Provider: key.Provider, Tenant: string(tenant), Nonce: nonce, Fingerprint: fingerprint("canary-r1"), BaseVersion: 1}
}

func answerFor(nonce string) journal.Answer {
	return journal.Answer{SpentToken: "canary-r1", Response: []byte(nonce), At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// wantLeft lets a new process adopt what is left, and compares it: nonces, those
// with an answer marked by a '+'.
func wantLeft(t *testing.T, directory *journaltest.Directory, want ...string) {
	t.Helper()
	adopted, left, err := directory.Start().Adopt()
	if err != nil || len(left) != 0 {
		t.Fatalf("left %v, %v", left, err)
	}
	var got []string
	for _, a := range adopted {
		for _, e := range a.Unsettled() {
			nonce := e.Nonce
			if e.Answer != nil {
				nonce += "+"
				if string(e.Answer.Response) != e.Nonce || e.Answer.SpentToken != "canary-r1" {
					t.Errorf("answer %q to %q", e.Answer.Response, e.Answer.SpentToken)
				}
			}
			got = append(got, nonce)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("left is %q, want %q", got, want)
	}
}

func mustClaim(t *testing.T, n *notes, nonces ...string) {
	t.Helper()
	for _, nonce := range nonces {
		if owner, err := n.claim(noteFor(nonce)); err != nil || len(owner) != 32 {
			t.Errorf("owner %q, %v", owner, err)
		}
	}
}

func TestTheJournalsKeyIsMadeOnce(t *testing.T) {
	const processes = 20
	store, directory := storetest.NewMemory(), journaltest.NewDirectory()
	// All see that there is none, and make one.
	var makers sync.WaitGroup
	makers.Add(processes)
	store.Fault = func(op string, _ credential.Key) error {
		if op == storetest.OpPut {
			makers.Done()
			makers.Wait()
		}
		return nil
	}
	var mu sync.Mutex
	var keys [][]byte
	var all sync.WaitGroup
	for i := range processes {
		process := directory.Start()
		n := &notes{store: store, directory: func(key []byte) (journal.Directory, error) {
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, key)
			return process, nil
		}}
		for j := range 3 {
			all.Go(func() { mustClaim(t, n, fmt.Sprint(i, " ", j)) })
		}
	}
	all.Wait()
	doc, err := store.Get(context.Background(), credential.JournalKey())
	if err != nil || doc.Version != 1 {
		t.Fatalf("version %d, %v", doc.Version, err)
	}
	if len(keys) != processes || len(keys[0]) != 32 || bytes.Equal(keys[0], make([]byte, 32)) {
		t.Errorf("%d keys of %d bytes", len(keys), len(keys[0]))
	}
	for _, key := range keys {
		if !bytes.Equal(key, keys[0]) || !bytes.Contains(doc.Data, []byte(base64.StdEncoding.EncodeToString(key))) {
			t.Error("two keys")
		}
	}
	if n := len(directory.IDs()); n != processes {
		t.Errorf("%d journals of %d processes", n, processes)
	}
}

func TestTheJournalsKeyIsReadBackWhenItsAnswerIsLost(t *testing.T) {
	store := storetest.NewMemory()
	store.After = func(op string, _ credential.Key) error {
		if op == storetest.OpPut {
			return credential.ErrUnavailable
		}
		return nil
	}
	n := newNotes(store, journaltest.NewDirectory().Start())
	if _, err := n.claim(noteFor("n1")); !errors.Is(err, ErrFailed) || !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	mustClaim(t, n, "n2")
	if store.Puts() != 1 {
		t.Errorf("%d writes", store.Puts())
	}
}

func TestADamagedJournalsKeyIsNotOverwritten(t *testing.T) {
	short := base64.StdEncoding.EncodeToString([]byte("canary: 31 bytes, one too short"))
	for _, document := range []string{
		`{}`, `{"key":""}`, `{"key":"canary, not base64"}`, `{"key":"` + short + `"}`, `{"key":17}`, `{"key":["canary"]}`, `{"kex":"canary"}`,
	} {
		store, directory := storetest.NewMemory(), journaltest.NewDirectory()
		if _, err := store.Put(t.Context(), credential.JournalKey(), []byte(document), 0); err != nil {
			t.Fatal(err)
		}
		n := newNotes(store, directory.Start())
		_, claimErr := n.claim(noteFor("n1"))
		_, adoptErr := n.adopt(discarded)
		answerErr := n.answer("n1", answerFor("n1"))
		for _, err := range []error{claimErr, adoptErr, answerErr} {
			if !errors.Is(err, ErrFailed) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v", document, err)
			}
		}
		doc, err := store.Get(t.Context(), credential.JournalKey())
		if err != nil || string(doc.Data) != document || store.Puts() != 1 {
			t.Errorf("%s became %s, %v", document, doc.Data, err)
		}
		if len(directory.IDs()) != 0 {
			t.Error("a journal was opened")
		}
	}
}

func TestTheJournalWaitsForTheStore(t *testing.T) {
	store := storetest.NewMemory()
	down := true
	store.Fault = func(string, credential.Key) error {
		if down {
			return credential.ErrUnavailable
		}
		return nil
	}
	n := newNotes(store, journaltest.NewDirectory().Start())
	for range 3 {
		if _, err := n.claim(noteFor("n1")); !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, errNoNotes) {
			t.Errorf("got %v", err)
		}
		if _, err := n.adopt(discarded); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	down = false
	mustClaim(t, n, "n1")
	gets := store.Gets()
	mustClaim(t, n, "n2")
	if store.Gets() != gets {
		t.Error("the key is read for each claim")
	}
}

func TestAdoptingMakesNoKey(t *testing.T) {
	store, directory := storetest.NewMemory(), journaltest.NewDirectory()
	opened := 0
	n := &notes{store: store, directory: func([]byte) (journal.Directory, error) { opened++; return directory.Start(), nil }}
	for range 3 {
		if entries, err := n.adopt(discarded); len(entries) != 0 || err != nil {
			t.Errorf("got %v, %v", entries, err)
		}
	}
	if store.Puts() != 0 || opened != 0 {
		t.Errorf("%d writes, opened %d times", store.Puts(), opened)
	}
	mustClaim(t, n, "n1")
	if _, err := n.adopt(discarded); err != nil || opened != 1 {
		t.Errorf("opened %d times: %v", opened, err)
	}
}

func TestWithoutADirectoryNothingIsWrittenDown(t *testing.T) {
	store := storetest.NewMemory()
	n := &notes{store: store, id: "me"}
	if owner, err := n.claim(noteFor("n1")); owner != "me" || err != nil {
		t.Errorf("got %q, %v", owner, err)
	}
	if err := n.answer("n1", answerFor("n1")); err != nil {
		t.Error(err)
	}
	if entries, err := n.adopt(discarded); len(entries) != 0 || err != nil {
		t.Errorf("got %v, %v", entries, err)
	}
	n.settle("n1")
	n.close()
	if store.Gets()+store.Puts() != 0 {
		t.Error("the store was asked")
	}
}

func TestWhatIsAdoptedIsKeptUntilItIsSettled(t *testing.T) {
	store, directory := storetest.NewMemory(), journaltest.NewDirectory()
	dead := directory.Start()
	before := newNotes(store, dead)
	mustClaim(t, before, "n1", "n2")
	if err := before.answer("n2", answerFor("n2")); err != nil {
		t.Fatal(err)
	}
	n := newNotes(store, directory.Start())
	if entries, err := n.adopt(discarded); len(entries) != 0 || err != nil {
		t.Fatalf("took from the living: %v, %v", entries, err)
	}
	dead.Kill()
	entries, err := n.adopt(discarded)
	if err != nil || len(entries) != 2 || entries[0].Nonce != "n1" || entries[0].Answer != nil || entries[1].Nonce != "n2" || entries[1].Answer == nil {
		t.Fatalf("got %v, %v", entries, err)
	}
	if again, err := n.adopt(discarded); len(again) != 0 || err != nil {
		t.Errorf("again: %v, %v", again, err)
	}
	n.settle("n1")
	if len(directory.IDs()) != 1 {
		t.Error("the journal is gone with half of it settled")
	}
	n.settle("n2")
	if len(directory.IDs()) != 0 {
		t.Error("the journal is left")
	}
}

func TestClosedNotesGiveAllUpAndTakeNothing(t *testing.T) {
	store, directory := storetest.NewMemory(), journaltest.NewDirectory()
	dead := directory.Start()
	mustClaim(t, newNotes(store, dead), "n1")
	dead.Kill()
	n := newNotes(store, directory.Start())
	mustClaim(t, n, "n2")
	if _, err := n.adopt(discarded); err != nil {
		t.Fatal(err)
	}
	n.close()
	n.close()
	if _, err := n.claim(noteFor("n3")); !errors.Is(err, journal.ErrClosed) || !errors.Is(err, errNoNotes) {
		t.Errorf("a claim after the end: %v", err)
	}
	if entries, err := n.adopt(discarded); len(entries) != 0 || err != nil {
		t.Errorf("adopted after the end: %v, %v", entries, err)
	}
	n.settle("n2") // too late
	wantLeft(t, directory, "n1", "n2")
}

func TestAFileThatIsLeftIsToldOnce(t *testing.T) {
	store, log := storetest.NewMemory(), &buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	damaged := &journal.FileError{Path: "/journal/1", Err: journal.ErrDamaged, Answered: []journal.Entry{{Note: noteFor("n1"), Answer: &journal.Answer{SpentToken: "canary"}}}}
	foreign := &journal.FileError{Path: "/journal/2", Err: journal.ErrForeign}
	n := &notes{store: store, directory: func([]byte) (journal.Directory, error) {
		return leaving{journaltest.NewDirectory().Start(), []*journal.FileError{damaged, foreign}}, nil
	}}
	mustClaim(t, n, "n0")
	entries, err := n.adopt(logger)
	if err != nil || len(entries) != 1 || entries[0].Nonce != "n1" {
		t.Errorf("got %v, %v", entries, err)
	}
	for range 5 {
		if entries, err := n.adopt(logger); err != nil || len(entries) != 0 {
			t.Errorf("got %v, %v", entries, err)
		}
	}
	text := log.String()
	if strings.Count(text, "/journal/1") != 1 || strings.Count(text, "/journal/2") != 1 || strings.Count(text, "level=ERROR") != 1 || strings.Contains(text, "canary") {
		t.Errorf("log: %s", text)
	}
}

// leaving is a directory that has to leave files as they are.
type leaving struct {
	*journaltest.Process
	left []*journal.FileError
}

func (l leaving) Adopt() ([]journal.Adopted, []*journal.FileError, error) {
	adopted, _, err := l.Process.Adopt()
	return adopted, l.left, err
}
