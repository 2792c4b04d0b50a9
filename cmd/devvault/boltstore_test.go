package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/vault/sdk/physical"
)

func newBoltStore(t *testing.T) *boltStore {
	t.Helper()
	s, err := openBoltStore(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestBoltStore runs the suite that Vault has for its own backends.
func TestBoltStore(t *testing.T) {
	t.Run("backend", func(t *testing.T) { physical.ExerciseBackend(t, newBoltStore(t)) })
	t.Run("list", func(t *testing.T) { physical.ExerciseBackend_ListPrefix(t, newBoltStore(t)) })
	t.Run("transactions", func(t *testing.T) { physical.ExerciseTransactionalBackend(t, newBoltStore(t)) })
}

// TestBoltStoreList has names around a folder's own: the bytes before and after
// the slash.
func TestBoltStoreList(t *testing.T) {
	ctx := context.Background()
	s := newBoltStore(t)
	for _, name := range []string{"p/a", "p/a-", "p/a/x", "p/a/y/z", "p/a0", "p/a0/x", "q"} {
		if err := s.Put(ctx, &physical.Entry{Key: name, Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.List(ctx, "p/")
	if want := []string{"a", "a-", "a/", "a0", "a0/"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestBoltStoreTransactionIsWhole(t *testing.T) {
	ctx := context.Background()
	s := newBoltStore(t)
	err := s.Transaction(ctx, []*physical.TxnEntry{
		{Operation: physical.PutOperation, Entry: &physical.Entry{Key: "a", Value: []byte("v")}},
		{Operation: "rename", Entry: &physical.Entry{Key: "a"}},
	})
	if err == nil {
		t.Error("no error")
	}
	if e, err := s.Get(ctx, "a"); e != nil || err != nil {
		t.Errorf("got %v, %v", e, err)
	}
}

func TestBoltStoreHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := newBoltStore(t).Put(ctx, &physical.Entry{Key: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
