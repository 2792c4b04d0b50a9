package renew_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// endless is a store with the same document for everybody.
type endless struct {
	credential.Store
	document string
}

func (e endless) Get(_ context.Context, k credential.Key) (credential.Document, error) {
	if k.Provider != key.Provider {
		return credential.Document{}, credential.ErrNotFound
	}
	return credential.Document{Data: []byte(e.document), Version: 1, ReadAt: time.Now()}, nil
}

// What is known of credentials that nobody asks for any more does not stay in memory,
// whatever came of them.
func TestCredentialsTouchedOnceAreForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		record      says
		waits       bool
		credentials int
	}{
		"refused": {refusedFor("canary-r1"), false, 10_000},
		"claimed": {claimOf("theirs"), true, 500},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				test.record["at"], test.record["since"] = stamp(time.Now()), stamp(time.Now())
				document := with("canary-r1", test.record)
				cache := credential.NewCache(endless{f.store, document}, credential.CacheOptions{MaxBytes: 1 << 16})
				c := renew.New(cache, renew.Options{})
				defer c.Close()
				c.Start()
				rejected := parseText(t, document)
				touch := func(p *renew.Provider, first, n int) {
					var all sync.WaitGroup
					for i := range n {
						call := func() {
							if _, err := c.Refresh(context.Background(), p, credential.Tenant(fmt.Sprint("t", first+i)), rejected); err == nil {
								t.Error("it is refreshed")
							}
						}
						if p == f.provider && test.waits {
							all.Go(call)
						} else {
							call()
						}
					}
					all.Wait()
				}
				// What happened last is remembered of 10,000, and goroutines are made again.
				other := *f.provider
				other.Name = "other"
				touch(&other, 0, 10_000)
				touch(f.provider, 0, test.credentials)
				time.Sleep(2 * time.Minute)
				before := heap()
				touch(f.provider, test.credentials, test.credentials)
				held := (heap() - before) / int64(test.credentials)
				time.Sleep(2 * time.Minute)
				left := (heap() - before) / int64(test.credentials)
				if held < 400 || left > held/3 {
					t.Errorf("%d B a credential, and %d B after two minutes", held, left)
				}
				runtime.KeepAlive(c)
			})
		})
	}
}

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
