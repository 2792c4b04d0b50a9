package localstore

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestDamagedEntriesAreUnavailable(t *testing.T) {
	tests := map[string]func(sealed []byte) []byte{
		"empty":            func([]byte) []byte { return nil },
		"format alone":     func(sealed []byte) []byte { return sealed[:1] },
		"cut in header":    func(sealed []byte) []byte { return sealed[:headerSize-1] },
		"header alone":     func(sealed []byte) []byte { return sealed[:headerSize] },
		"cut in nonce":     func(sealed []byte) []byte { return sealed[:headerSize+5] },
		"cut at end":       func(sealed []byte) []byte { return sealed[:len(sealed)-1] },
		"longer":           func(sealed []byte) []byte { return append(sealed, 0) },
		"unknown format":   func(sealed []byte) []byte { sealed[0]++; return sealed },
		"marked deleted":   func(sealed []byte) []byte { sealed[1] = stateDeleted; return sealed },
		"another version":  func(sealed []byte) []byte { sealed[9]++; return sealed },
		"another time":     func(sealed []byte) []byte { sealed[17]++; return sealed },
		"another nonce":    func(sealed []byte) []byte { sealed[headerSize]++; return sealed },
		"another document": func(sealed []byte) []byte { sealed[headerSize+12]++; return sealed },
		"another tag":      func(sealed []byte) []byte { sealed[len(sealed)-1]++; return sealed },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, configIn(t.TempDir()))
			put(t, store, acme, `{"n":1}`, 0)
			change(t, store, func(_, sealed []byte) []byte { return damage(sealed) })
			before := raw(t, store, acme)

			doc, getErr := store.Get(t.Context(), acme)
			if doc.Data != nil || doc.Version != 0 {
				t.Errorf("Get: %v", doc)
			}
			_, createErr := store.Put(t.Context(), acme, []byte(`{}`), 0)
			_, putErr := store.Put(t.Context(), acme, []byte(`{}`), 1)
			for method, err := range map[string]error{
				"Get": getErr, "create": createErr, "Put": putErr, "Delete": store.Delete(t.Context(), acme),
			} {
				if !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound) {
					t.Errorf("%s: error %v, want ErrUnavailable", method, err)
				}
			}
			if !bytes.Equal(raw(t, store, acme), before) {
				t.Error("the entry was changed")
			}
			put(t, store, globex, `{"others":"go on"}`, 0)
		})
	}
}

func TestListPassesOverForeignNames(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	for _, key := range []credential.Key{acme, globex, credential.JournalKey()} {
		put(t, store, key, `{}`, 0)
	}
	err := store.db.bolt.Update(func(tx *bbolt.Tx) (err error) {
		for _, name := range []string{"billing/", "billing/../x", "billing/a b", "billing/b/c", "billing/g\xff", "billing/_journal"} {
			err = errors.Join(err, tx.Bucket(bucketCredentials).Put([]byte(name), []byte("x")))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int][]credential.Tenant{1: {"acme"}, 2: {"acme", "globex"}, 9: {"acme", "globex"}} {
		if tenants, err := store.List(t.Context(), "billing", "", limit); err != nil || !slices.Equal(tenants, want) {
			t.Errorf("at most %d: %q, %v; want %q", limit, tenants, err, want)
		}
	}
}

func TestEntriesOpenInTheirOwnPlaceAlone(t *testing.T) {
	elsewhere := credential.Key{Provider: "salesforce", Tenant: "acme"}
	dir := t.TempDir()
	store := openStore(t, configIn(dir))
	for _, key := range []credential.Key{acme, globex, elsewhere} {
		put(t, store, key, `{"of":"`+key.Provider+` `+string(key.Tenant)+`"}`, 0)
	}
	// A database that shares the key file.
	other := openStore(t, Config{Path: dir + "/other.db", KeyFile: dir + "/key"})
	put(t, other, acme, `{"of":"the other database"}`, 0)

	mine := raw(t, store, acme)
	for name, foreign := range map[string][]byte{
		"another tenant's": raw(t, store, globex), "another provider's": raw(t, store, elsewhere),
		"another database's": raw(t, other, acme),
	} {
		setRaw(t, store, acme, foreign)
		if doc, err := store.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%s entry: %s, error %v; want ErrUnavailable", name, doc.Data, err)
		}
	}
	setRaw(t, store, acme, mine)
	if _, err := store.Get(t.Context(), acme); err != nil {
		t.Errorf("its own entry: %v", err)
	}
}

func TestAWrongKeyIsNoticedAndChangesNothing(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	put(t, store, acme, `{"n":1}`, 0)
	closeStore(t, store)
	before, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}

	wrong := config
	wrong.KeyFile += ".wrong"
	if err := makeKey(wrong.KeyFile); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, wrong, "sealed with another key")

	missing := config
	missing.KeyFile += ".missing"
	mustNotOpen(t, missing, "its key is missing")
	if _, err := os.Stat(missing.KeyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a key was made for a database that has one")
	}

	after, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	store = openStore(t, config)
	if _, err := store.Get(t.Context(), acme); err != nil {
		t.Errorf("with the right key: %v", err)
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	t.Run("not a database", func(t *testing.T) {
		config := configIn(t.TempDir())
		if err := os.WriteFile(config.Path, bytes.Repeat([]byte("text\n"), 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		mustNotOpen(t, config, "invalid database")
	})
	t.Run("a directory", func(t *testing.T) {
		config := configIn(t.TempDir())
		if err := os.Mkdir(config.Path, 0o700); err != nil {
			t.Fatal(err)
		}
		mustNotOpen(t, config, "is a directory")
	})
	t.Run("a database of something else", func(t *testing.T) {
		config := configIn(t.TempDir())
		bolt, err := bbolt.Open(config.Path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = bolt.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("certificates"))
			return err
		})
		if err := errors.Join(err, bolt.Close()); err != nil {
			t.Fatal(err)
		}
		mustNotOpen(t, config, "a database of something else")
		if _, err := os.Stat(config.KeyFile); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a key was made for it")
		}
	})
}

func TestAFileThatWasCutOffIsAnError(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	for version := range uint64(50) {
		put(t, store, acme, `{"blob":"`+strings.Repeat("x", 20_000)+`"}`, version)
		put(t, store, credential.Key{Provider: "billing", Tenant: credential.Tenant(strings.Repeat("t", int(version+1)))}, `{}`, 0)
	}
	closeStore(t, store)
	whole, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size < len(whole); size += len(whole)/40 + 1 {
		if err := os.WriteFile(config.Path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		store.lockTimeout = 100 * time.Millisecond
		err = store.Open()
		switch {
		case err == nil:
			// What is missing was no page: bbolt makes the file grow in larger steps.
			if _, err := store.Get(t.Context(), acme); err != nil {
				t.Errorf("%d of %d bytes: opened, but Get: %v", size, len(whole), err)
			}
		case !errors.Is(err, credential.ErrUnavailable) || strings.Contains(err.Error(), "in use"):
			t.Errorf("%d of %d bytes: error %v", size, len(whole), err)
		}
		closeStore(t, store)
	}
	if err := os.WriteFile(config.Path, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, config, "")
	// The failed attempts hold on to nothing.
	if err := os.WriteFile(config.Path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	store = openStore(t, config)
	if _, err := store.Get(t.Context(), acme); err != nil {
		t.Errorf("Get with the whole file again: %v", err)
	}
}

// Whatever befalls the file, reading it may fail but not end the process, nor give
// out what was not written.
func TestDamagedPagesAreErrors(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	keys := make([]credential.Key, 200)
	for i := range keys {
		keys[i] = credential.Key{Provider: "billing", Tenant: credential.Tenant(strings.Repeat("t", i%100+1) + string(rune('a'+i/100)))}
		put(t, store, keys[i], `{"blob":"`+strings.Repeat("x", 100)+`"}`, 0)
	}
	closeStore(t, store)
	whole, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused, failed, found := 0, 0, 0
	for range 150 {
		damaged := bytes.Clone(whole)
		page := random.IntN(len(damaged)/4096) * 4096
		for range 8 { // Headers of pages and elements are at their start.
			damaged[page+random.IntN(256)] = byte(random.Uint32())
		}
		if err := os.WriteFile(config.Path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		store.lockTimeout = 100 * time.Millisecond
		if err := store.Open(); err != nil {
			if strings.Contains(err.Error(), "in use") {
				t.Fatal(err)
			}
			refused++
			continue
		}
		if tenants, err := store.List(t.Context(), "billing", "", len(keys)); err == nil && !slices.IsSorted(tenants) {
			t.Fatalf("got the list %q", tenants)
		}
		for _, key := range keys {
			doc, err := store.Get(t.Context(), key)
			switch {
			case err == nil && (doc.Version != 1 || len(doc.Data) != 111):
				t.Fatalf("got %s, version %d", doc.Data, doc.Version)
			case err == nil:
				found++
			default:
				failed++
			}
		}
		closeStore(t, store)
	}
	t.Logf("%d files refused; of the others %d documents found, %d not", refused, found, failed)
	if found == 0 || failed == 0 {
		t.Error("the damage is not of the kind that this test is about")
	}
}

// mustNotOpen ends the test unless a store with config fails to open, with text in
// the error.
func mustNotOpen(t *testing.T, config Config, text string) {
	t.Helper()
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	store.lockTimeout = 100 * time.Millisecond
	err = store.Open()
	if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), text) {
		t.Fatalf("Open: error %v, want ErrUnavailable with %q", err, text)
	}
	if _, err := store.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("Get: error %v, want ErrUnavailable", err)
	}
}

// change changes each entry as it lies in the file.
func change(t *testing.T, store *Store, f func(place, sealed []byte) []byte) {
	t.Helper()
	err := store.db.bolt.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketCredentials)
		entries := map[string][]byte{}
		err := bucket.ForEach(func(place, sealed []byte) error {
			entries[string(place)] = f(place, bytes.Clone(sealed))
			return nil
		})
		for place, sealed := range entries {
			err = errors.Join(err, bucket.Put([]byte(place), sealed))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// raw returns an entry as it lies in the file.
func raw(t *testing.T, store *Store, key credential.Key) (sealed []byte) {
	t.Helper()
	err := store.db.bolt.View(func(tx *bbolt.Tx) error {
		sealed = bytes.Clone(tx.Bucket(bucketCredentials).Get(place(key)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func setRaw(t *testing.T, store *Store, key credential.Key, sealed []byte) {
	t.Helper()
	change(t, store, func(p, current []byte) []byte {
		if bytes.Equal(p, place(key)) {
			return sealed
		}
		return current
	})
}
