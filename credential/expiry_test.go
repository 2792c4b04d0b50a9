package credential_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

// endlessStore has a document of about a KiB for every key, each in memory of its own.
type endlessStore struct{ credential.Store }

func (endlessStore) Get(_ context.Context, key credential.Key) (credential.Document, error) {
	document := fmt.Sprintf(`{"access_token":"%s%s"}`, key.Tenant, strings.Repeat("a", 1000))
	return credential.Document{Data: []byte(document), Version: 1}, nil
}

func tenant(kind string, i int) credential.Key {
	return credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprintf("%s-%06d", kind, i))}
}

// mustGet asks the cache as a request does, with what that makes of the credential.
func mustGet(t *testing.T, cache *credential.Cache, key credential.Key) *credential.Credential {
	t.Helper()
	cred, err := cache.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	cred.Memo(cache, func() any { return "Bearer " + cred.Get("access_token").String() })
	return cred
}

// heapHeld is what the heap has of the system's memory.
func heapHeld() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys - m.HeapReleased
}

func TestMemoryOfTenantsTouchedOnceComesBack(t *testing.T) {
	const once, inUse = touchedOnce, 100
	synctest.Test(t, func(t *testing.T) {
		cache := credential.NewCache(endlessStore{}, credential.CacheOptions{TTL: time.Minute})
		used := make([]*credential.Credential, inUse)
		for i := range used {
			used[i] = mustGet(t, cache, tenant("used", i))
		}
		before, heldBefore := heapInUse(), heapHeld()
		for i := range once {
			mustGet(t, cache, tenant("once", i))
		}
		full := heapInUse() - before
		if full < once*1000 || cache.Len() != once+inUse {
			t.Fatalf("%d entries in %d bytes: they are not in memory to begin with", cache.Len(), full)
		}
		for range 12 { // two TTL
			time.Sleep(10 * time.Second)
			for i := range used {
				if mustGet(t, cache, tenant("used", i)) != used[i] {
					t.Fatalf("tenant %d in use was dropped", i)
				}
			}
		}
		// Before anything here collects it: nothing but the cache could have done that.
		if held := int64(heapHeld()) - int64(heldBefore); held > int64(full)/5 {
			t.Errorf("after two TTL the process holds %d bytes more than before %d were used", held, full)
		}
		if n := cache.Len(); n != inUse {
			t.Errorf("%d entries after two TTL, want the %d in use", n, inUse)
		}
		if left := int64(heapInUse()) - int64(before); left > int64(full)/50 {
			t.Errorf("%d of %d bytes are still in memory after two TTL", left, full)
		}
		runtime.KeepAlive(cache)
	})
}

func TestCacheForgetsByItself(t *testing.T) {
	for name, c := range map[string]struct {
		options       credential.CacheOptions
		get           error
		stays, leaves time.Duration // after the read
	}{
		"credential":            {credential.CacheOptions{TTL: time.Minute}, nil, time.Minute, 2 * time.Minute},
		"credential, may stale": {credential.CacheOptions{TTL: time.Minute, StaleIfError: time.Hour}, nil, 61 * time.Minute, 62 * time.Minute},
		"unknown tenant":        {credential.CacheOptions{TTL: time.Minute, NegativeTTL: 5 * time.Second}, credential.ErrNotFound, 5 * time.Second, 65 * time.Second},
		"short TTL":             {credential.CacheOptions{TTL: 4 * time.Second}, nil, 4 * time.Second, 8 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := storetest.NewMemory()
			if c.get == nil {
				write(t, store, `{"n":"1"}`)
			}
			cache := credential.NewCache(store, c.options)
			for range 2 { // the second time into a cache that has become empty
				if _, err := cache.Get(t.Context(), acme); !errors.Is(err, c.get) {
					t.Fatal(err)
				}
				time.Sleep(c.stays)
				synctest.Wait()
				if cache.Len() != 1 {
					t.Errorf("%s: dropped within %v", name, c.stays)
				}
				time.Sleep(c.leaves - c.stays)
				synctest.Wait()
				if cache.Len() != 0 {
					t.Errorf("%s: still there after %v", name, c.leaves)
				}
			}
		})
	}
}

// A read that takes its time must not bring back what was deleted meanwhile, however
// short the cache remembers that.
func TestDeletionIsRememberedForAsLongAsAReadTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, store := cached(t, credential.CacheOptions{TTL: 40 * time.Millisecond, Timeout: 2 * time.Second})
		store.After = func(op string, _ credential.Key) error {
			if op == storetest.OpGet {
				time.Sleep(1900 * time.Millisecond)
			}
			return nil
		}
		got := make(chan string)
		go func() { got <- number(t, cache) }()
		time.Sleep(100 * time.Millisecond)
		if err := store.Delete(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		cache.SetAbsent(acme)
		if read := <-got; read != credential.ErrNotFound.Error() {
			t.Errorf("the late reader got %s after the deletion", read)
		}
	})
}

func TestCacheThatIsNotUsedAnyMoreIsCollected(t *testing.T) {
	w := func() weak.Pointer[credential.Cache] {
		cache := credential.NewCache(endlessStore{}, credential.CacheOptions{TTL: time.Hour})
		mustGet(t, cache, acme)
		return weak.Make(cache)
	}()
	for range 100 { // the goroutine that read for it may not be gone yet
		if runtime.GC(); w.Value() == nil {
			return
		}
	}
	t.Error("the timer that drops what is expired holds the cache")
}
