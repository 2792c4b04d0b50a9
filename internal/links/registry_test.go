package links

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

func mustAdd(t *testing.T, r *Registry, key credential.Key, id string, l Link) {
	t.Helper()
	if err := r.Add(t.Context(), key, id, l); err != nil {
		t.Fatal(err)
	}
}

func lasting(d time.Duration) Link {
	return Link{Expires: time.Now().Add(d).UTC().Truncate(time.Second)}
}

// Another registry on the same store is another replica.
func TestReplicasAgree(t *testing.T) {
	store := storetest.NewMemory()
	one, other := New(store), New(store)
	mustAdd(t, one, acme, "id", lasting(time.Hour))
	if l, err := other.Get(t.Context(), acme, "id"); err != nil || l.Used {
		t.Fatal(l, err)
	}
	for _, elsewhere := range []credential.Key{{Provider: "crm", Tenant: "globex"}, {Provider: "billing", Tenant: "acme"}} {
		if _, err := other.Get(t.Context(), elsewhere, "id"); !errors.Is(err, ErrUsed) {
			t.Errorf("at %v: %v", elsewhere, err)
		}
	}
	var wins atomic.Int32
	var all sync.WaitGroup
	for _, r := range []*Registry{one, other, one, other, one, other} {
		all.Go(func() {
			_, err := r.Update(t.Context(), acme, "id", func(l *Link) error { l.Used = true; return nil })
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, ErrUsed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d used it", wins.Load())
	}
	if err := one.GiveBack(t.Context(), acme, "id"); err != nil {
		t.Error(err)
	}
	if _, err := other.Get(t.Context(), acme, "id"); err != nil {
		t.Errorf("what was given back: %v", err)
	}
	if err := other.Withdraw(t.Context(), acme); err != nil {
		t.Error(err)
	}
	if err := one.GiveBack(t.Context(), acme, "id"); err != nil {
		t.Error(err)
	}
	if _, err := one.Get(t.Context(), acme, "id"); !errors.Is(err, ErrUsed) {
		t.Errorf("what was withdrawn: %v", err)
	}
}

func TestRefusedChangeChangesNothing(t *testing.T) {
	r := New(storetest.NewMemory())
	mustAdd(t, r, acme, "id", lasting(time.Hour))
	refused := errors.New("refused")
	if _, err := r.Update(t.Context(), acme, "id", func(l *Link) error { l.Used = true; return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := r.Get(t.Context(), acme, "id"); err != nil {
		t.Error(err)
	}
}

// What is over leaves the store when the tenant's next link is made.
func TestWhatIsOverGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		r := New(store)
		mustAdd(t, r, acme, "used", lasting(time.Hour))
		mustAdd(t, r, acme, "expired", lasting(time.Minute))
		mustAdd(t, r, acme, "under way", lasting(time.Minute))
		_, used := r.Update(t.Context(), acme, "used", func(l *Link) error { l.Used = true; return nil })
		_, begun := r.Update(t.Context(), acme, "under way", func(l *Link) error {
			return l.Begin("attempt", Attempt{Expires: time.Now().Add(3 * time.Minute)})
		})
		if err := errors.Join(used, begun); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		mustAdd(t, r, acme, "new", lasting(time.Hour))
		for id, kept := range map[string]bool{"used": false, "expired": false, "under way": true, "new": true} {
			if _, err := r.Get(t.Context(), acme, id); (err == nil) != kept {
				t.Errorf("%s: %v", id, err)
			}
		}
		time.Sleep(2 * time.Minute)
		mustAdd(t, r, acme, "newer", lasting(time.Hour))
		if _, err := r.Get(t.Context(), acme, "under way"); !errors.Is(err, ErrUsed) {
			t.Errorf("after its attempt: %v", err)
		}
	})
}

// Who may read the store finds no link in it.
func TestStoreTellsNoID(t *testing.T) {
	store := storetest.NewMemory()
	r := New(store)
	mustAdd(t, r, acme, "a-secret-id", lasting(time.Hour))
	if _, err := r.Update(t.Context(), acme, "a-secret-id", func(l *Link) error {
		return l.Begin("a-secret-attempt", Attempt{Expires: time.Now().Add(time.Minute)})
	}); err != nil {
		t.Fatal(err)
	}
	doc, err := store.Get(t.Context(), acme.Links())
	if err != nil || strings.Contains(string(doc.Data), "secret") {
		t.Errorf("%s, %v", doc.Data, err)
	}
}

func TestTenantHasSoManyLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(storetest.NewMemory())
		for i := range MaxLinks {
			mustAdd(t, r, acme, fmt.Sprint(i), lasting(time.Duration(i+1)*time.Minute))
		}
		err := r.Add(t.Context(), acme, "more", lasting(time.Hour))
		if quota, ok := errors.AsType[*QuotaError](err); !ok || quota.Seconds() != "60" {
			t.Errorf("error %v", err)
		}
		mustAdd(t, r, credential.Key{Provider: "crm", Tenant: "globex"}, "another tenant's", lasting(time.Hour))
		time.Sleep(time.Minute)
		mustAdd(t, r, acme, "later", lasting(time.Hour))
		if err := r.Withdraw(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		mustAdd(t, r, acme, "after withdrawing", lasting(time.Hour))
	})
}

func TestLinkHasSoManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lasting(time.Hour)
		for i := range MaxAttempts {
			if err := l.Begin(fmt.Sprint(i), Attempt{Expires: time.Now().Add(10 * time.Minute), Ended: i%2 == 0}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		err := l.Begin("more", Attempt{Expires: time.Now().Add(10 * time.Minute)})
		if quota, ok := errors.AsType[*QuotaError](err); !ok || quota.Seconds() != "590" {
			t.Errorf("error %v", err)
		}
		for id, want := range map[string]error{"1": nil, "0": ErrUsed, "more": ErrUsed} {
			if _, err := l.End(id); !errors.Is(err, want) {
				t.Errorf("%s: %v", id, err)
			}
		}
		if _, err := l.End("1"); !errors.Is(err, ErrUsed) {
			t.Errorf("again: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if err := l.Begin("later", Attempt{Expires: time.Now().Add(10 * time.Minute)}); err != nil || len(l.Attempts) != 1 {
			t.Errorf("%v, %d attempts", err, len(l.Attempts))
		}
	})
}

// A tenant's flood waits for the store in single file, and only so much of it: others
// are served meanwhile.
func TestFloodIsOnNoOthersWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		r := New(store)
		for _, tenant := range []credential.Tenant{"acme", "globex"} {
			mustAdd(t, r, credential.Key{Provider: "crm", Tenant: tenant}, "id", lasting(time.Hour))
		}
		release := make(chan struct{})
		var asked atomic.Int32
		store.Fault = func(_ string, key credential.Key) error {
			if key == acme.Links() {
				asked.Add(1)
				<-release
			}
			return nil
		}
		var served, refused atomic.Int32
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				_, err := r.Get(t.Context(), acme, "id")
				if quota, ok := errors.AsType[*QuotaError](err); ok && quota.Seconds() == "1" {
					refused.Add(1)
				} else if err == nil {
					served.Add(1)
				} else {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if asked.Load() != 1 {
			t.Errorf("%d at the store at once", asked.Load())
		}
		if _, err := r.Get(t.Context(), credential.Key{Provider: "crm", Tenant: "globex"}, "id"); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		close(release)
		all.Wait()
		if served.Load() != maxWaiting || refused.Load() != 1000-maxWaiting {
			t.Errorf("%d served, %d refused", served.Load(), refused.Load())
		}
		if len(r.turns.of) != 0 {
			t.Errorf("%d tenants are remembered", len(r.turns.of))
		}
	})
}

func TestDamagedDocument(t *testing.T) {
	store := storetest.NewMemory()
	r := New(store)
	if _, err := store.Put(t.Context(), acme.Links(), []byte(`{"links":7}`), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), acme, "id"); !errors.Is(err, errDamaged) {
		t.Error(err)
	}
	if err := r.Add(t.Context(), acme, "id", lasting(time.Hour)); !errors.Is(err, errDamaged) {
		t.Error(err)
	}
	if _, err := store.Put(t.Context(), acme.Links(), []byte(`{"links":{"x":null}}`), 1); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, r, acme, "id", lasting(time.Hour))
}
