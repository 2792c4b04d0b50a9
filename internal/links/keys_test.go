package links

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

func mustSeal(t *testing.T, r *Registry) string {
	t.Helper()
	text, err := r.Seal(t.Context(), "link", "content")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func opens(t *testing.T, r *Registry, text string) error {
	t.Helper()
	var content string
	err := r.Open(t.Context(), "link", text, &content)
	if err == nil && content != "content" {
		t.Errorf("opens as %q", content)
	}
	return err
}

func TestKeyIsMadeOnce(t *testing.T) {
	store := storetest.NewMemory()
	texts := make([]string, 10)
	var all sync.WaitGroup
	for i := range texts {
		all.Go(func() { texts[i] = mustSeal(t, New(store)) })
	}
	all.Wait()
	r := New(store)
	for _, text := range texts {
		if err := opens(t, r, text); err != nil {
			t.Error(err)
		}
	}
	if doc, err := store.Get(t.Context(), credential.LinksKey()); err != nil || doc.Version != 1 {
		t.Errorf("version %d, %v", doc.Version, err)
	}
	if _, err := store.Get(t.Context(), credential.JournalKey()); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("the journals' key: %v", err)
	}
}

func TestKindsAreApart(t *testing.T) {
	r := New(storetest.NewMemory())
	var content string
	if err := r.Open(t.Context(), "state", mustSeal(t, r), &content); !errors.Is(err, ErrForged) {
		t.Error(err)
	}
}

// A key seals for a week, and opens for a week more.
func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		one, other := New(store), New(store)
		old := mustSeal(t, one)
		time.Sleep(keyLife + time.Second)
		young := mustSeal(t, one)
		for _, text := range []string{old, young} {
			if err := opens(t, other, text); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(keyLife + time.Second)
		for text, want := range map[string]error{old: ErrForged, young: nil, mustSeal(t, one): nil} {
			if err := opens(t, other, text); !errors.Is(err, want) {
				t.Errorf("%v, not %v", err, want)
			}
		}
		if doc, err := store.Get(t.Context(), credential.LinksKey()); err != nil || doc.Version != 3 {
			t.Errorf("version %d, %v", doc.Version, err)
		}
	})
}

func TestAllAreWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		one, other := New(store), New(store)
		text := mustSeal(t, one)
		if err := opens(t, other, text); err != nil {
			t.Fatal(err)
		}
		if err := one.WithdrawAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := opens(t, one, text); !errors.Is(err, ErrForged) {
			t.Errorf("where it was asked for: %v", err)
		}
		time.Sleep(keysTTL)
		if err := opens(t, other, text); !errors.Is(err, ErrForged) {
			t.Errorf("elsewhere: %v", err)
		}
		if err := opens(t, other, mustSeal(t, one)); err != nil {
			t.Errorf("a new one: %v", err)
		}
		// An operator deletes the keys by hand.
		text = mustSeal(t, one)
		if err := store.Delete(t.Context(), credential.LinksKey()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keysTTL)
		if err := opens(t, other, text); !errors.Is(err, ErrForged) {
			t.Errorf("after the deletion: %v", err)
		}
		if err := opens(t, other, mustSeal(t, other)); err != nil {
			t.Errorf("a new one: %v", err)
		}
	})
}

// Texts that nobody sealed cost the store nothing.
func TestForgedTextsDoNotAskTheStore(t *testing.T) {
	store := storetest.NewMemory()
	r := New(store)
	mustSeal(t, r)
	before := store.Gets()
	for range 1000 {
		if err := opens(t, r, "bm90aGluZyBvZiBvdXJzLCBidXQgbG9uZyBlbm91Z2ggdG8gYmUgYSBsaW5rIG9mIG91cnM"); !errors.Is(err, ErrForged) {
			t.Fatal(err)
		}
	}
	if asked := store.Gets() - before; asked > 1 {
		t.Errorf("the store was asked %d times", asked)
	}
}

func TestDamagedKeys(t *testing.T) {
	for _, text := range []string{`{"keys":7}`, `{"keys":[{"key":"AAAA","made":"2100-01-01T00:00:00Z"}]}`} {
		store := storetest.NewMemory()
		if _, err := store.Put(t.Context(), credential.LinksKey(), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := New(store).Seal(t.Context(), "link", "content"); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whoever may read the journals' key, and no more, seals nothing that opens.
func TestJournalsKeySealsNothing(t *testing.T) {
	store := storetest.NewMemory()
	journals := bytes.Repeat([]byte{7}, keySize)
	document, err := json.Marshal(map[string][]byte{"key": journals})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), credential.JournalKey(), document, 0); err != nil {
		t.Fatal(err)
	}
	r := New(store)
	mustSeal(t, r)
	salt := make([]byte, saltSize)
	aead, err := newAEAD(journals, "link", salt)
	if err != nil {
		t.Fatal(err)
	}
	forged := encoding.EncodeToString(append(salt, aead.Seal(nil, nil, []byte(`"content"`), nil)...))
	if err := opens(t, r, forged); !errors.Is(err, ErrForged) {
		t.Errorf("a forged text: %v", err)
	}
}
