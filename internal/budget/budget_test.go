package budget_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

func limits(tenant, provider, total int64) (l budget.Limits) {
	l.Tenant[budget.Requests], l.Provider[budget.Requests], l.Total[budget.Requests] = tenant, provider, total
	return l
}

// outcome is "", "tenant" or "total".
func outcome(err error) string {
	spent, is := errors.AsType[*budget.Error](err)
	switch {
	case err == nil:
		return ""
	case is && spent.Total:
		return "total"
	case is:
		return "tenant"
	}
	return err.Error()
}

func TestATenantsBudgetIsItsOwn(t *testing.T) {
	var usage budget.Usage
	p := usage.Provider("crm", limits(2, 0, 3))
	var held []budget.Account
	for i, step := range []struct{ tenant, want string }{
		{"acme", ""}, {"acme", ""}, {"acme", "tenant"}, {"globex", ""}, {"globex", "total"}, {"acme", "tenant"}, {"initech", "total"},
	} {
		a, err := p.Take(step.tenant, budget.Requests)
		if got := outcome(err); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
		if err == nil {
			held = append(held, a)
		}
	}
	held[0].Give(budget.Requests, 1)
	if _, err := p.Take("initech", budget.Requests); err != nil {
		t.Error(err)
	}
}

func TestAProvidersTotalCountsBesidesTheOneForAll(t *testing.T) {
	var usage budget.Usage
	crm, billing := usage.Provider("crm", limits(0, 2, 3)), usage.Provider("billing", limits(0, 0, 3))
	for i, step := range []struct {
		provider *budget.Provider
		want     string
	}{{crm, ""}, {crm, ""}, {crm, "total"}, {billing, ""}, {billing, "total"}} {
		if _, err := step.provider.Take("acme", budget.Requests); outcome(err) != step.want {
			t.Errorf("step %d: %v, want %q", i, err, step.want)
		}
	}
}

// Requests that came in under a configuration that was replaced are still under way.
func TestWhatIsInUseOutlivesAConfiguration(t *testing.T) {
	var usage budget.Usage
	before, err := usage.Provider("crm", limits(2, 0, 0)).Take("acme", budget.Requests)
	if err != nil {
		t.Fatal(err)
	}
	p := usage.Provider("crm", limits(1, 0, 0))
	if _, err := p.Take("acme", budget.Requests); outcome(err) != "tenant" {
		t.Errorf("%v", err)
	}
	before.Give(budget.Requests, 1)
	if _, err := p.Take("acme", budget.Requests); err != nil {
		t.Error(err)
	}
}

func TestZeroIsNoLimit(t *testing.T) {
	var usage budget.Usage
	p := usage.Provider("crm", budget.Limits{})
	for range 10_000 {
		if _, err := p.Take("acme", budget.Requests); err != nil {
			t.Fatal(err)
		}
	}
	var none *budget.Provider
	a, err := none.Take("acme", budget.Requests)
	if err != nil || a.Take(budget.Disk, 1<<40) != nil {
		t.Error("no provider has a limit", err)
	}
	a.Give(budget.Requests, 1)
}

// However many come and go, nobody gets more than there is and all is given back.
func TestManyAtOnceNeverGetMoreThanThereIs(t *testing.T) {
	var usage budget.Usage
	p := usage.Provider("crm", limits(4, 0, 32))
	var now [20]atomic.Int64
	var all atomic.Int64
	var group sync.WaitGroup
	for worker := range 64 {
		group.Go(func() {
			for i := range 500 {
				tenant := (worker + i) % len(now)
				a, err := p.Take(fmt.Sprint("tenant-", tenant), budget.Requests)
				if err != nil {
					continue
				}
				if n := now[tenant].Add(1); n > 4 {
					t.Errorf("%d of one tenant", n)
				}
				if n := all.Add(1); n > 32 {
					t.Errorf("%d in total", n)
				}
				now[tenant].Add(-1)
				all.Add(-1)
				a.Give(budget.Requests, 1)
			}
		})
	}
	group.Wait()
	for i := range 32 {
		if _, err := p.Take(fmt.Sprint("other-", i), budget.Requests); err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
	}
}

// Names that come once leave nothing behind, and a sweep forgets nobody who has something
// in use.
func TestNamesThatComeOnceAreForgotten(t *testing.T) {
	var usage budget.Usage
	p := usage.Provider("crm", limits(1, 0, 0))
	if _, err := p.Take("acme", budget.Requests); err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		a, err := p.Take(fmt.Sprint("unknown-", i), budget.Requests)
		if err != nil {
			t.Fatal(err)
		}
		a.Give(budget.Requests, 1)
	}
	if _, err := p.Take("acme", budget.Requests); outcome(err) != "tenant" {
		t.Errorf("acme's request is forgotten: %v", err)
	}
	if n := p.Remembered(); n > 5000 {
		t.Errorf("%d tenants are remembered", n)
	}
}

func TestALineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var usage budget.Usage
		p := usage.Provider("crm", budget.Limits{Lookups: []*budget.Line{nil, budget.NewLine(1)}})
		leave, err := p.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := p.Enter(t.Context()); outcome(err) != "total" || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, leave)
		start = time.Now()
		leave, err = p.Enter(t.Context())
		if err != nil || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		leave()
	})
}

// A tenant's credential is changed by one at a time, and others' meanwhile.
func TestATenantChangesOneThingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var usage budget.Usage
		p := usage.Provider("crm", budget.Limits{})
		account := func(tenant string) budget.Account {
			a, err := p.Take(tenant, budget.Calls)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		leave, err := account("acme").Alone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other, err := account("globex").Alone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := account("acme").Alone(t.Context()); outcome(err) != "tenant" || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ended, end := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, end)
		if _, err := account("acme").Alone(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller went away: %v", err)
		}
		time.AfterFunc(time.Second, leave)
		leave, err = account("acme").Alone(t.Context())
		if err != nil {
			t.Error(err)
		}
		leave()
		other()
	})
}

func BenchmarkTake(b *testing.B) {
	var usage budget.Usage
	p := usage.Provider("crm", limits(2000, 0, 20_000))
	b.ReportAllocs()
	for b.Loop() {
		a, err := p.Take("acme", budget.Requests)
		if err != nil {
			b.Fatal(err)
		}
		a.Give(budget.Requests, 1)
	}
}
