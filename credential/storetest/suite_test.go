package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestSuiteFindsWhatIsBroken(t *testing.T) {
	tests := map[string]struct {
		store broken
		by    string // the check that must notice
	}{
		"versions are off by one": {changed(func(doc *credential.Document) { doc.Version-- }), "versions start at 1 and grow by 1"},
		"version 0 overwrites": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			if version == 0 {
				doc, _ := s.Get(ctx, key)
				version = doc.Version
			}
			return s.Put(ctx, key, data, version)
		}}, "version 0 creates and never overwrites"},
		"a conflict writes": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			written, err := s.Put(ctx, key, data, version)
			if errors.Is(err, credential.ErrConflict) {
				doc, _ := s.Get(ctx, key)
				_, _ = s.Put(ctx, key, data, doc.Version)
			}
			return written, err
		}}, "a lost check-and-set is a conflict and writes nothing"},
		"an unknown document is empty": {broken{get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
			doc, err := s.Get(ctx, key)
			if errors.Is(err, credential.ErrNotFound) {
				return credential.Document{Data: []byte("{}")}, nil
			}
			return doc, err
		}}, "get of what was never written is not found"},
		"a deleted document has no version": {broken{get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
			doc, err := s.Get(ctx, key)
			if err != nil {
				doc.Version = 0
			}
			return doc, err
		}}, "a deleted document is not found and keeps its version"},
		"deletion bumps the version": {broken{delete: func(s credential.Store, ctx context.Context, key credential.Key) error {
			if doc, err := s.Get(ctx, key); err == nil {
				_, _ = s.Put(ctx, key, []byte("{}"), doc.Version)
			}
			return s.Delete(ctx, key)
		}}, "a deleted document is written again against its mark alone"},
		"delete of nothing fails": {broken{delete: func(s credential.Store, ctx context.Context, key credential.Key) error {
			if _, err := s.Get(ctx, key); err != nil {
				return err
			}
			return s.Delete(ctx, key)
		}}, "delete can be repeated"},
		"the newest version stands for all": {broken{getVersion: func(s credential.Store, ctx context.Context, key credential.Key, _ uint64) (credential.Document, error) {
			return s.Get(ctx, key)
		}}, "the version before is kept"},
		"a mark has a document": {broken{getVersion: func(s credential.Store, ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
			if doc, err := s.GetVersion(ctx, key, version); err == nil {
				return doc, nil
			}
			return credential.Document{Data: []byte("{}"), Version: version}, nil
		}}, "the version before a rewritten mark is not"},
		"a deleted version leaves no trace": {broken{getVersion: func(s credential.Store, ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
			doc, err := s.GetVersion(ctx, key, version)
			if err != nil {
				return credential.Document{}, err
			}
			return doc, nil
		}}, "the version before a rewritten mark is not"},
		"the journals have no place": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			if key == credential.JournalKey() {
				return 0, credential.ErrUnavailable
			}
			return s.Put(ctx, key, data, version)
		}}, "the journals' key has a place of its own"},
		"links lie where the credential does": {renamed(func(key credential.Key) credential.Key {
			key.Provider = strings.TrimPrefix(key.Provider, "_links/")
			return key
		}), "links have places of their own"},
		"delete takes all that begins alike": {broken{delete: func(s credential.Store, ctx context.Context, key credential.Key) error {
			_ = s.Delete(ctx, credential.Key{Provider: key.Provider, Tenant: key.Tenant + ".eu"})
			return s.Delete(ctx, key)
		}}, "delete touches no other document"},
		"documents are cut off": {changed(func(doc *credential.Document) { doc.Data = doc.Data[:min(len(doc.Data), 60_000)] }), "documents come back as they were"},
		"documents share memory": {broken{get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
			return shared.get(s, ctx, key)
		}}, "a document is the store's own copy"},
		"seconds taken for milliseconds": {changed(func(doc *credential.Document) { doc.WrittenAt = time.UnixMilli(doc.WrittenAt.Unix()) }), "the time of writing is plausible"},
		"anything is taken": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			if written, err := s.Put(ctx, key, data, version); !errors.Is(err, credential.ErrInvalid) {
				return written, err
			}
			return s.Put(ctx, key, []byte("{}"), version)
		}}, "data that is no JSON object is refused"},
		"tenants are cleaned": {renamed(func(key credential.Key) credential.Key {
			key.Tenant = key.Tenant[strings.LastIndexByte(string(key.Tenant), '/')+1:]
			return key
		}), "invalid tenants are refused"},
		"providers are folded": {renamed(func(key credential.Key) credential.Key {
			key.Provider = strings.ToLower(key.Provider)
			return key
		}), "invalid providers are refused"},
		"tenants are folded": {renamed(func(key credential.Key) credential.Key {
			key.Tenant = credential.Tenant(strings.ToLower(string(key.Tenant)))
			return key
		}), "names that differ in anything are different documents"},
		"lists run over into another provider": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			tenants, err := s.List(ctx, provider, after, limit)
			others, _ := s.List(ctx, provider+"x", after, limit)
			return append(tenants, others...), err
		}}, "a list names the tenants of its provider in order"},
		"lists are in another order": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			tenants, err := s.List(ctx, provider, after, limit)
			slices.SortFunc(tenants, func(a, b credential.Tenant) int {
				return strings.Compare(strings.ToLower(string(a)), strings.ToLower(string(b)))
			})
			return tenants, err
		}}, "a list names the tenants of its provider in order"},
		"lists go on after known names alone": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			if _, err := s.Get(ctx, credential.Key{Provider: provider, Tenant: after}); err != nil {
				after = ""
			}
			return s.List(ctx, provider, after, limit)
		}}, "a list goes on after any name"},
		"lists repeat the last name": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			tenants, err := s.List(ctx, provider, after, limit)
			if _, unknown := s.Get(ctx, credential.Key{Provider: provider, Tenant: after}); unknown == nil {
				tenants = append([]credential.Tenant{after}, tenants...)
			}
			return tenants, err
		}}, "a list goes on after any name"},
		"lists are whole": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			return s.List(ctx, provider, after, max(limit, 10))
		}}, "a list keeps to its limit"},
		"lists forget what was ever deleted": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			tenants, err := s.List(ctx, provider, after, limit)
			return slices.DeleteFunc(tenants, func(tenant credential.Tenant) bool {
				_, err := s.GetVersion(ctx, credential.Key{Provider: provider, Tenant: tenant}, 1)
				return err != nil
			}), err
		}}, "a list names what was written again"},
		"lists fold providers": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			return s.List(ctx, strings.ToLower(provider), after, limit)
		}}, "a list of an invalid provider is refused"},
		"lists ignore contexts": {broken{list: func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
			return s.List(context.WithoutCancel(ctx), provider, after, limit)
		}}, "an ended context ends every call"},
		"everybody wins": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			if _, err := s.Put(ctx, key, data, version); err != nil && !errors.Is(err, credential.ErrConflict) {
				return 0, err
			}
			return version + 1, nil
		}}, "concurrent writers have one winner a version"},
		"a write is lost": {broken{put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			if bytes.Contains(data, []byte(`"n":"40"`)) {
				return version + 1, nil
			}
			return s.Put(ctx, key, data, version)
		}}, "concurrent increments lose none"},
		"versions and documents are mixed": {changed(func(doc *credential.Document) { doc.Data = bytes.ReplaceAll(doc.Data, []byte(`"30`), []byte(`"29`)) }), "concurrent readers see whole documents"},
		"contexts are ignored": {broken{get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
			return s.Get(context.WithoutCancel(ctx), key)
		}}, "an ended context ends every call"},
	}
	noticed := make(map[string]bool)
	for name, test := range tests {
		noticed[test.by] = true
		t.Run(name, func(t *testing.T) {
			for _, c := range checks {
				if c.name != test.by {
					continue
				}
				test.store.Store = NewMemory()
				r := &recorder{TB: t}
				r.run(func() { c.run(r, subject{Store: test.store, provider: "t1"}) })
				if !r.Failed() {
					t.Errorf("%q did not notice", c.name)
				}
			}
		})
	}
	for _, c := range checks {
		if !noticed[c.name] {
			t.Errorf("nothing shows that %q can fail", c.name)
		}
	}
}

// recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
}

// run calls f, which a Fatal of the recorder may end.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (r *recorder) fail(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.Log("as it should:", message)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *recorder) Fatal(args ...any)            { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)); runtime.Goexit() }
