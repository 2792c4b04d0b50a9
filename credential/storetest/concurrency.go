package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const writers = 8

func checkOneWinner(t testing.TB, s subject) {
	key := s.key("acme")
	for version := range uint64(5) {
		var (
			mu  sync.Mutex
			won []int
		)
		each(writers, func(writer int) {
			written, err := s.Put(t.Context(), key, fmt.Appendf(nil, `{"winner":"%d"}`, writer), version)
			switch {
			case err == nil:
				mu.Lock()
				won = append(won, writer)
				mu.Unlock()
				if written != version+1 {
					t.Errorf("Put against version %d: new version is %d", version, written)
				}
			case !errors.Is(err, credential.ErrConflict):
				t.Errorf("Put against version %d: %v", version, err)
			}
		})
		if len(won) != 1 {
			t.Fatalf("%d of %d writers won version %d, want one", len(won), writers, version+1)
		}
		s.mustGet(t, key, fmt.Sprintf(`{"winner":"%d"}`, won[0]), version+1)
	}
}

func checkIncrements(t testing.TB, s subject) {
	const increments = 10 // of each writer
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"0"}`, 0)
	each(writers, func(int) {
		for range increments {
			if err := s.increment(t.Context(), key); err != nil {
				t.Errorf("increment: %v", err)
				return
			}
		}
	})
	const total = writers * increments
	s.mustGet(t, key, fmt.Sprintf(`{"n":"%d"}`, total), total+1)
}

// increment adds 1 to the number in key's document, until its write wins.
func (s subject) increment(ctx context.Context, key credential.Key) error {
	for {
		doc, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		n, err := number(doc)
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, key, fmt.Appendf(nil, `{"n":"%d"}`, n+1), doc.Version)
		if !errors.Is(err, credential.ErrConflict) {
			return err
		}
	}
}

func checkWholeDocuments(t testing.TB, s subject) {
	const versions, parts = 30, 200
	key := s.key("acme")
	// Each version says its own number many times, in a length of its own.
	write := func(version uint64) error {
		part := fmt.Sprintf(`"%d%s"`, version, strings.Repeat(".", int(version%7)*10))
		data := fmt.Sprintf(`{"n":"%d","parts":[%s]}`, version, strings.Repeat(part+",", parts-1)+part)
		_, err := s.Put(t.Context(), key, []byte(data), version-1)
		return err
	}
	if err := write(1); err != nil {
		t.Fatalf("Put: %v", err)
	}
	each(5, func(worker int) {
		if worker == 0 {
			for version := uint64(2); version <= versions; version++ {
				if err := write(version); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
			return
		}
		for seen := uint64(0); seen < versions && !t.Failed(); {
			doc, err := s.Get(t.Context(), key)
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			if doc.Version < seen {
				t.Errorf("Get: version %d after version %d", doc.Version, seen)
				return
			}
			seen = doc.Version
			if err := checkWhole(doc, parts); err != nil {
				t.Errorf("version %d: %v", doc.Version, err)
				return
			}
		}
	})
}

func checkWhole(doc credential.Document, parts int) error {
	var content struct {
		N     string
		Parts []string
	}
	if err := json.Unmarshal(doc.Data, &content); err != nil {
		return err
	}
	if content.N != strconv.FormatUint(doc.Version, 10) {
		return fmt.Errorf("it is the document of version %q", content.N)
	}
	if len(content.Parts) != parts {
		return fmt.Errorf("it has %d parts, want %d", len(content.Parts), parts)
	}
	for _, part := range content.Parts {
		if strings.TrimRight(part, ".") != strconv.FormatUint(doc.Version, 10) {
			return errors.New("it has parts of another version")
		}
	}
	return nil
}

func checkEndedContext(t testing.TB, s subject) {
	key := s.key("acme")
	s.mustPut(t, key, `{"n":"1"}`, 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	calls := map[string]func() error{
		"Get":                func() error { _, err := s.Get(ended, key); return err },
		"Get of nothing":     func() error { _, err := s.Get(ended, s.key("nobody")); return err },
		"Put":                func() error { _, err := s.Put(ended, key, []byte(`{"n":"2"}`), 1); return err },
		"Put that must lose": func() error { _, err := s.Put(ended, key, []byte(`{"n":"2"}`), 9); return err },
		"Delete":             func() error { return s.Delete(ended, s.key("other")) },
		"List":               func() error { _, err := s.List(ended, s.provider, "", 1); return err },
	}
	for name, call := range calls {
		answer := make(chan error, 1)
		go func() { answer <- call() }()
		select {
		case err := <-answer:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, credential.ErrUnavailable) {
				t.Errorf("%s: error %v, want context.Canceled or ErrUnavailable", name, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s does not return", name)
		}
	}

	// Whether the Put was made is open; that the store goes on is not.
	doc, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	s.mustPut(t, key, `{"n":"3"}`, doc.Version)
}

// each runs work in n goroutines, starts them at once, and returns when all are done.
func each(n int, work func(worker int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for worker := range n {
		group.Go(func() {
			<-start
			work(worker)
		})
	}
	close(start)
	group.Wait()
}

// number returns the field n of a document.
func number(doc credential.Document) (uint64, error) {
	var content struct{ N string }
	if err := json.Unmarshal(doc.Data, &content); err != nil {
		return 0, err
	}
	return strconv.ParseUint(content.N, 10, 64)
}
