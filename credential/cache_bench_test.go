package credential_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

// filled is a cache of so many tenants, each with a document of two tokens, of about as
// many bytes as documents are, and what a request leaves with it: a header's value.
func filled(b *testing.B, tenants int) (cache *credential.Cache, keys []credential.Key, documents int) {
	b.Helper()
	store := storetest.NewMemory()
	cache = credential.NewCache(store, credential.CacheOptions{TTL: time.Hour, MaxBytes: 4 << 30})
	keys = make([]credential.Key, tenants)
	for i := range keys {
		keys[i] = credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprintf("tenant-%07d", i))}
	}
	for _, key := range keys {
		document := fmt.Sprintf(`{"access_token":"%s%s","refresh_token":"%s%s","_upstream_auth":{"status":"ready","fingerprint":"0123456789abcdef"}}`,
			key.Tenant, strings.Repeat("a", 200), key.Tenant, strings.Repeat("r", 200))
		documents += len(document)
		cred, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
		if err != nil {
			b.Fatal(err)
		}
		cache.SetNext(key, cred)
	}
	for _, key := range keys {
		cred, err := cache.Get(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		cred.Memo(cache, func() any { return "Bearer " + cred.Get("access_token").String() })
	}
	return cache, keys, documents
}

// BenchmarkCacheMemory reports what a cached tenant takes beyond its document, in bytes.
func BenchmarkCacheMemory(b *testing.B) {
	const tenants = 100_000
	for b.Loop() {
		before := heapInUse()
		cache, _, documents := filled(b, tenants)
		after := heapInUse()
		b.ReportMetric(float64(after-before-uint64(documents))/tenants, "B/tenant")
		b.ReportMetric(float64(documents)/tenants, "B/document")
		runtime.KeepAlive(cache)
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkCacheHit asks for 100,000 tenants in turn.
func BenchmarkCacheHit(b *testing.B) {
	cache, keys, _ := filled(b, 100_000)
	b.Run("one goroutine", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := cache.Get(b.Context(), keys[i*7919%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all processors", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := cache.Get(b.Context(), keys[i*7919%len(keys)]); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
