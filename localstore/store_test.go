package localstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

func TestMain(m *testing.M) {
	if runAsChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

var (
	acme   = credential.Key{Provider: "billing", Tenant: "acme"}
	globex = credential.Key{Provider: "billing", Tenant: "globex"}
)

func TestStoreIsAStore(t *testing.T) {
	storetest.TestStore(t, func(t *testing.T) credential.Store { return openStore(t, configIn(t.TempDir())) })
}

func TestStoreIsAStoreAfterReopening(t *testing.T) {
	config := configIn(t.TempDir())
	storetest.TestStore(t, func(t *testing.T) credential.Store { return openStore(t, config) })
}

func TestDocumentsSurviveReopening(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	put(t, store, acme, `{"n":1}`, 0)
	put(t, store, acme, `{"n":2}`, 1)
	put(t, store, globex, `{"n":3}`, 0)
	if err := store.Delete(t.Context(), globex); err != nil {
		t.Fatal(err)
	}
	before, err := store.Get(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, store)

	store = openStore(t, config)
	after, err := store.Get(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	if string(after.Data) != `{"n":2}` || after.Version != 2 || !after.WrittenAt.Equal(before.WrittenAt) {
		t.Errorf("got %s, version %d, written at %v; want version 2 of %v", after.Data, after.Version, after.WrittenAt, before.WrittenAt)
	}
	if doc, err := store.Get(t.Context(), globex); !errors.Is(err, credential.ErrNotFound) || doc.Version != 1 {
		t.Errorf("deleted document: version %d, error %v", doc.Version, err)
	}
}

func TestFilesAreTheirOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	config := Config{Path: filepath.Join(dir, "made", "too", "a.db"), KeyFile: filepath.Join(dir, "made", "a.key")}
	openStore(t, config)
	for path, want := range map[string]os.FileMode{
		filepath.Join(dir, "made"): 0o700, filepath.Join(dir, "made", "too"): 0o700, config.Path: 0o600, config.KeyFile: 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != want {
			t.Errorf("%s has mode %04o, want %04o", filepath.Base(path), mode, want)
		}
	}
}

func TestTheFileDoesNotShowDocuments(t *testing.T) {
	const secret = "canary-0123456789abcdef-canary"
	config := configIn(t.TempDir())
	store := openStore(t, config)
	for version := range uint64(3) {
		put(t, store, acme, `{"access_token":"`+secret+`"}`, version)
	}
	closeStore(t, store)

	key, err := readKey(config.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(config.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(file, place(acme)) {
		t.Fatal("the file does not hold the document at all")
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(secret))
	for what, text := range map[string]string{
		"the secret": secret, "half of it": secret[:16], "its base64": encoded[:len(encoded)-4],
		"its hex": hex.EncodeToString([]byte(secret)), "its field": "access_token",
		"the key": string(key), "the key's base64": base64.StdEncoding.EncodeToString(key),
	} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("the file holds %s", what)
		}
	}
}

func TestFirstUseOpens(t *testing.T) {
	store, err := New(configIn(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	if _, err := store.Get(t.Context(), acme); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
}

func TestOpenIsSafeForConcurrentUse(t *testing.T) {
	store, err := New(configIn(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if err := store.Open(); err != nil {
				t.Errorf("Open: %v", err)
			}
			key := credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprintf("t%d", i))}
			put(t, store, key, `{}`, 0)
		})
	}
	group.Wait()
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, acme, `{}`, 0)
	closeStore(t, store)
	closeStore(t, store) // It may be repeated.

	_, getErr := store.Get(t.Context(), acme)
	_, putErr := store.Put(t.Context(), acme, []byte(`{}`), 1)
	_, listErr := store.List(t.Context(), "billing", "", 1)
	for method, err := range map[string]error{
		"Open": store.Open(), "Get": getErr, "Put": putErr, "List": listErr, "Delete": store.Delete(t.Context(), acme),
	} {
		if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: error %v, want ErrUnavailable", method, err)
		}
	}
}

func TestCloseUnderLoadLosesNothingAcknowledged(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	acknowledged := make([]uint64, 8)
	var group sync.WaitGroup
	key := func(i int) credential.Key {
		return credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprintf("t%d", i))}
	}
	enough := make(chan struct{})
	for i := range acknowledged {
		group.Go(func() {
			for version := uint64(0); ; version++ {
				if i == 0 && version == 5 {
					close(enough)
				}
				_, err := store.Put(t.Context(), key(i), []byte(`{}`), version)
				if err != nil {
					if !errors.Is(err, credential.ErrUnavailable) {
						t.Errorf("Put: %v", err)
					}
					return
				}
				acknowledged[i] = version + 1
			}
		})
	}
	<-enough
	closeStore(t, store)
	group.Wait()

	store = openStore(t, config)
	for i, version := range acknowledged {
		doc, err := store.Get(t.Context(), key(i))
		if doc.Version < version || version > 0 && err != nil {
			t.Errorf("writer %d: version %d, error %v; version %d was acknowledged", i, doc.Version, err, version)
		}
	}
}

func TestASecondOpenSaysWhoIsInTheWay(t *testing.T) {
	config := configIn(t.TempDir())
	first := openStore(t, config)
	put(t, first, acme, `{"n":1}`, 0)

	second, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, second)
	second.lockTimeout = 100 * time.Millisecond
	start := time.Now()
	if err := second.Open(); !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("Open: error %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Open took %v", took)
	}

	closeStore(t, first)
	if doc, err := second.Get(t.Context(), acme); err != nil || string(doc.Data) != `{"n":1}` {
		t.Errorf("Get once the file is free: %s, error %v", doc.Data, err)
	}
}

func TestCallsEndWithTheirContextWhileTheFileIsInUse(t *testing.T) {
	config := configIn(t.TempDir())
	openStore(t, config)
	second, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	second.lockTimeout = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = second.Get(ctx, acme)
	if !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: error %v", err)
	}
	if took := time.Since(start); took > 800*time.Millisecond {
		t.Errorf("Get took %v", took)
	}
	closeStore(t, second) // Waits for the attempt to end.
}

func TestWritesEndWithTheirContextWhileTheWriterIsBusy(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, acme, `{"n":1}`, 0)
	busy, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		_ = store.db.write(t.Context(), globex, func(entry) (entry, error) {
			close(busy)
			<-release
			return entry{}, errNothingToDo
		})
	})
	<-busy
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := store.Put(ctx, acme, []byte(`{"n":2}`), 1); !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: error %v", err)
	}
	if doc, err := store.Get(t.Context(), acme); err != nil || doc.Version != 1 {
		t.Errorf("Get beside a writer: version %d, error %v", doc.Version, err)
	}
	close(release)
	group.Wait()
}

func TestABatchAnswersEachWriteOnItsOwn(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, globex, `{}`, 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	set := func(ctx context.Context, key credential.Key, version uint64) *write {
		return &write{ctx: ctx, place: place(key), done: make(chan error, 1), change: func(current entry) (entry, error) {
			if current.version != version {
				return entry{}, credential.ErrConflict
			}
			return entry{data: []byte(`{}`), version: version + 1}, nil
		}}
	}
	batch := []*write{
		set(t.Context(), acme, 0), set(t.Context(), acme, 0), set(t.Context(), acme, 1), set(ended, acme, 2),
		set(t.Context(), globex, 7), set(t.Context(), globex, 1),
	}
	store.db.commit(batch)
	for i, want := range []error{nil, credential.ErrConflict, nil, context.Canceled, credential.ErrConflict, nil} {
		if err := <-batch[i].done; !errors.Is(err, want) {
			t.Errorf("write %d: error %v, want %v", i, err, want)
		}
	}
	for _, key := range []credential.Key{acme, globex} {
		if doc, err := store.Get(t.Context(), key); err != nil || doc.Version != 2 {
			t.Errorf("version %d, error %v; want 2", doc.Version, err)
		}
	}
}

func TestErrorsNameNoTenant(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, acme, `{"access_token":"hunter2"}`, 0)
	_, conflict := store.Put(t.Context(), acme, []byte(`{"access_token":"hunter2"}`), 7)
	_, invalid := store.Put(t.Context(), acme, []byte(`{"access_token":"hunter2"`), 1)
	_, badName := store.Get(t.Context(), credential.Key{Provider: "billing", Tenant: "acme/"})
	_, unknown := store.Get(t.Context(), credential.Key{Provider: "other", Tenant: "acme"})
	change(t, store, func(place, sealed []byte) []byte { return sealed[:len(sealed)-1] })
	_, damaged := store.Get(t.Context(), acme)
	for what, err := range map[string]error{
		"conflict": conflict, "invalid": invalid, "bad name": badName, "unknown": unknown, "damaged": damaged,
	} {
		if err == nil || strings.Contains(err.Error(), "acme") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

func configIn(dir string) Config {
	return Config{Path: filepath.Join(dir, "credentials.db"), KeyFile: filepath.Join(dir, "key")}
}

func openStore(t *testing.T, config Config) *Store {
	t.Helper()
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, store) })
	return store
}

func closeStore(t *testing.T, store *Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func put(t *testing.T, store *Store, key credential.Key, data string, version uint64) {
	t.Helper()
	if written, err := store.Put(t.Context(), key, []byte(data), version); err != nil || written != version+1 {
		t.Errorf("Put against version %d: version %d, error %v", version, written, err)
	}
}
