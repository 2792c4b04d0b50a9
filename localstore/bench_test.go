package localstore

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// BenchmarkStore reads and writes one of 10,000 documents of 1 KiB.
func BenchmarkStore(b *testing.B) {
	store, err := New(configIn(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	document := []byte(`{"blob":"` + strings.Repeat("x", 1000) + `"}`)
	key := func(n int) credential.Key {
		return credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprint("t", n%10_000))}
	}
	var group sync.WaitGroup
	for part := range 200 {
		group.Go(func() {
			for n := range 50 {
				if _, err := store.Put(b.Context(), key(50*part+n), document, 0); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	versions := make(map[credential.Key]uint64)
	b.Run("Get", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, err := store.Get(b.Context(), key(n*7919)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Put", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			k := key(n * 7919)
			version, err := store.Put(b.Context(), k, document, versions[k]+1)
			if err != nil {
				b.Fatal(err)
			}
			versions[k] = version - 1
		}
	})
}
