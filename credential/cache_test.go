package credential_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

var acme = credential.Key{Provider: "billing", Tenant: "acme"}

// cached is a Cache over a store in memory that holds {"n":"1"} for acme.
func cached(t *testing.T, o credential.CacheOptions) (*credential.Cache, *storetest.Memory) {
	t.Helper()
	store := storetest.NewMemory()
	write(t, store, `{"n":"1"}`)
	return credential.NewCache(store, o), store
}

// write replaces what the store holds for acme, as an operator would.
func write(t *testing.T, store *storetest.Memory, document string) {
	t.Helper()
	doc, err := store.Get(t.Context(), acme)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), acme, []byte(document), doc.Version); err != nil {
		t.Fatal(err)
	}
}

// number returns field n of acme's credential as the cache has it.
func number(t *testing.T, cache *credential.Cache) string {
	t.Helper()
	cred, err := cache.Get(t.Context(), acme)
	if err != nil {
		return err.Error()
	}
	return cred.Get("n").String()
}

func TestCacheAsksOnceATTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: time.Minute})
		before := store.Gets()
		for range 10 {
			if got := number(t, cache); got != "1" {
				t.Fatalf("got %s", got)
			}
		}
		if asked := store.Gets() - before; asked != 1 {
			t.Errorf("the store was asked %d times within the TTL, want once", asked)
		}
		write(t, store, `{"n":"2"}`)
		time.Sleep(time.Minute - time.Nanosecond)
		if got := number(t, cache); got != "1" {
			t.Errorf("just before the end of the TTL: got %s, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		if got := number(t, cache); got != "2" {
			t.Errorf("at the end of the TTL: got %s, want 2", got)
		}
	})
}

func TestCacheReadsOnceForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{})
		before := store.Gets()
		answer := make(chan struct{})
		store.Fault = func(string, credential.Key) error { <-answer; return nil }
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if got := number(t, cache); got != "1" {
					t.Errorf("got %s", got)
				}
			})
		}
		synctest.Wait()
		close(answer)
		callers.Wait()
		if asked := store.Gets() - before; asked != 1 {
			t.Errorf("the store was asked %d times, want once", asked)
		}
	})
}

func TestCacheReadOutlivesTheCallerWhoStartedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{})
		answer := make(chan struct{})
		store.Fault = func(string, credential.Key) error { <-answer; return nil }
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := cache.Get(ctx, acme)
			done <- err
		}()
		synctest.Wait()
		hangUp()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who hung up got %v", err)
		}
		close(answer)
		synctest.Wait()
		store.Fault = func(string, credential.Key) error { return credential.ErrUnavailable }
		if got := number(t, cache); got != "1" {
			t.Errorf("what was read for the caller who hung up is lost: %s", got)
		}
	})
}

func TestCacheRemembersUnknownTenantsShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		cache := credential.NewCache(store, credential.CacheOptions{TTL: time.Minute})
		for range 10 {
			if _, err := cache.Get(t.Context(), acme); !errors.Is(err, credential.ErrNotFound) {
				t.Fatalf("got %v, want ErrNotFound", err)
			}
		}
		if asked := store.Gets(); asked != 1 {
			t.Errorf("the store was asked %d times, want once", asked)
		}
		write(t, store, `{"n":"1"}`)
		time.Sleep(2 * time.Second)
		if got := number(t, cache); got != "1" {
			t.Errorf("2 s after the tenant came: got %s", got)
		}
	})
}

func TestCacheRemembersBrokenDocumentsShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{document: `["x"]`}
		cache := credential.NewCache(store, credential.CacheOptions{TTL: time.Minute})
		for range 10 {
			if _, err := cache.Get(t.Context(), acme); !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
		}
		if store.gets != 1 {
			t.Errorf("the store was asked %d times, want once", store.gets)
		}
		store.document = `{"n":"1"}`
		time.Sleep(2 * time.Second)
		if got := number(t, cache); got != "1" {
			t.Errorf("2 s after the remedy: got %s", got)
		}
	})
}

// brokenStore holds what no Put would have taken.
type brokenStore struct {
	credential.Store
	document string
	gets     int
}

func (s *brokenStore) Get(context.Context, credential.Key) (credential.Document, error) {
	s.gets++
	return credential.Document{Data: []byte(s.document), Version: 1}, nil
}

func TestCacheServesStaleWhileTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: time.Minute, StaleIfError: time.Hour})
		number(t, cache)
		down := fmt.Errorf("%w: sealed", credential.ErrUnavailable)
		store.Fault = func(string, credential.Key) error { return down }
		time.Sleep(time.Minute)

		before := store.Gets()
		for range 10 {
			if got := number(t, cache); got != "1" {
				t.Fatalf("got %s, want the stale 1", got)
			}
		}
		if asked := store.Gets() - before; asked != 1 {
			t.Errorf("the store was asked %d times in one instant, want once", asked)
		}
		store.Fault = nil
		write(t, store, `{"n":"2"}`)
		time.Sleep(time.Second)
		if got := number(t, cache); got != "2" {
			t.Errorf("a second after the outage: got %s, want 2", got)
		}

		store.Fault = func(string, credential.Key) error { return down }
		time.Sleep(time.Minute + time.Hour)
		if _, err := cache.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("after stale_if_error: got error %v, want ErrUnavailable", err)
		}
	})
}

func TestCacheWithoutStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: time.Minute})
		number(t, cache)
		store.Fault = func(string, credential.Key) error { return credential.ErrUnavailable }
		time.Sleep(time.Minute)
		if _, err := cache.Get(t.Context(), acme); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("got error %v, want ErrUnavailable", err)
		}
	})
}

func TestCacheDoesNotServeWhatWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: time.Minute, StaleIfError: time.Hour})
		number(t, cache)
		if err := store.Delete(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := cache.Get(t.Context(), acme); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("got error %v, want ErrNotFound", err)
		}
	})
}

func TestOlderReadDoesNotOverwriteWhatWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{})
		answer := make(chan struct{})
		store.After = func(op string, _ credential.Key) error {
			if op == "get" {
				<-answer
			}
			return nil
		}
		got := make(chan string)
		go func() { got <- number(t, cache) }()
		synctest.Wait() // the store has read 1, and its answer is on its way
		time.Sleep(time.Millisecond)

		fresh, err := credential.New(credential.Document{Data: []byte(`{"n":"2"}`), Version: 2})
		if err != nil {
			t.Fatal(err)
		}
		cache.SetSince(acme, fresh, time.Now())
		close(answer)
		if read := <-got; read != "2" {
			t.Errorf("the late reader got %s, want 2", read)
		}
		if now := number(t, cache); now != "2" {
			t.Errorf("afterwards the cache holds %s, want 2", now)
		}
	})
}

func TestCacheReadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := credential.NewCache(hangingStore{}, credential.CacheOptions{Timeout: 2 * time.Second})
		start := time.Now()
		_, err := cache.Get(t.Context(), acme)
		if err == nil || time.Since(start) != 2*time.Second {
			t.Errorf("got error %v after %v, want one after 2s", err, time.Since(start))
		}
	})
}

// hangingStore answers only when it is told to stop.
type hangingStore struct{ credential.Store }

func (hangingStore) Get(ctx context.Context, _ credential.Key) (credential.Document, error) {
	<-ctx.Done()
	return credential.Document{}, fmt.Errorf("%w: %w", credential.ErrUnavailable, ctx.Err())
}

func TestCacheKeepsWhatIsNewerThanTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			before func(cache *credential.Cache)
			want   string
		}{
			"nothing is known":   {func(*credential.Cache) {}, "next"},
			"the version before": {func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "old", 4), time.Now()) }, "next"},
			"the same version":   {func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "theirs", 5), time.Now()) }, "theirs"},
			"a later version":    {func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "theirs", 6), time.Now()) }, "theirs"},
			"deleted":            {func(cache *credential.Cache) { cache.SetAbsent(acme) }, credential.ErrNotFound.Error()},
			"a later one, expired": {func(cache *credential.Cache) {
				cache.SetSince(acme, numbered(t, "theirs", 6), time.Now())
				time.Sleep(2 * time.Minute)
			}, "next"},
		} {
			cache, _ := cached(t, credential.CacheOptions{TTL: time.Minute})
			c.before(cache)
			cache.SetNext(acme, numbered(t, "next", 5))
			if got := number(t, cache); got != c.want {
				t.Errorf("%s: got %s, want %s", name, got, c.want)
			}
		}
	})
}

func TestCacheKeepsWhatItLearntSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			before, since func(cache *credential.Cache)
			want          string // "1" is the store's
		}{
			"nothing is known":               {nil, nil, "written"},
			"an older version":               {nil, func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "old", 4), time.Now()) }, "written"},
			"a later version":                {nil, func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "theirs", 6), time.Now()) }, "theirs"},
			"a later version, as of earlier": {func(cache *credential.Cache) { cache.SetSince(acme, numbered(t, "before", 6), time.Now()) }, nil, "written"},
			"deleted":                        {nil, func(cache *credential.Cache) { cache.SetAbsent(acme) }, "1"},
			"deleted earlier":                {func(cache *credential.Cache) { cache.SetAbsent(acme) }, nil, "written"},
		} {
			cache, _ := cached(t, credential.CacheOptions{TTL: time.Minute})
			if c.before != nil {
				c.before(cache)
			}
			time.Sleep(time.Second)
			began := time.Now()
			time.Sleep(time.Second)
			if c.since != nil {
				c.since(cache)
			}
			cache.SetSince(acme, numbered(t, "written", 5), began)
			if got := number(t, cache); got != c.want {
				t.Errorf("%s: got %s, want %s", name, got, c.want)
			}
		}
	})
}

// numbered is a credential of a version.
func numbered(t *testing.T, n string, version uint64) *credential.Credential {
	t.Helper()
	cred, err := credential.New(credential.Document{Data: []byte(`{"n":"` + n + `"}`), Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func TestCacheKeepsWhatWasMadeOfADocumentThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: time.Minute})
		get := func() *credential.Credential {
			t.Helper()
			cred, err := cache.Get(t.Context(), acme)
			if err != nil {
				t.Fatal(err)
			}
			return cred
		}
		first := get()
		before := store.Gets()
		time.Sleep(time.Minute)
		if get() != first || store.Gets() != before+1 {
			t.Errorf("another credential for the same document, or the store was not asked (%d)", store.Gets()-before)
		}
		write(t, store, `{"n":"1"}`) // the same once more, but a version of its own
		time.Sleep(time.Minute)
		if second := get(); second == first || second.Version() != first.Version()+1 {
			t.Error("the version before was kept")
		}
	})
}

// A scan of many tenants, each asked for once, does not drive out those in use.
func TestCacheKeepsWhatIsInUse(t *testing.T) {
	const inUse, once = 200, 5_000
	store := storetest.NewMemory()
	name := func(kind string, i int) credential.Key {
		return credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprint(kind, i))}
	}
	for kind, count := range map[string]int{"used": inUse, "once": once} {
		for i := range count {
			if _, err := store.Put(t.Context(), name(kind, i), []byte(`{"token":"0123456789"}`), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Room for about a thousand.
	cache := credential.NewCache(store, credential.CacheOptions{TTL: time.Hour, MaxBytes: 1000 * 550})
	get := func(key credential.Key) {
		t.Helper()
		if _, err := cache.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	round := func() {
		for i := range inUse {
			get(name("used", i))
		}
	}
	for range 20 {
		round()
	}
	for i := range once {
		get(name("once", i))
		if i%100 == 0 {
			round()
		}
	}
	before := store.Gets()
	round()
	if again := store.Gets() - before; again > inUse/10 {
		t.Errorf("%d of %d tenants in use were driven out", again, inUse)
	}
}
