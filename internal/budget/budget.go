// Package budget counts what tenants have in use at the same time, and says when it is
// enough: for one of them, for all of a provider, and for all together.
package budget

import (
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Kind is what is counted.
type Kind int

// The kinds.
const (
	Requests  Kind = iota // under way
	Refreshes             // requests that wait for one
	Calls                 // of the credentials API
	Memory                // bytes of recorded bodies
	Disk                  // the same in files
	kinds
)

var names = [kinds]string{"requests", "requests that wait for a refresh", "calls of the credentials API", "recorded bytes in memory", "recorded bytes on disk"}

// Amounts is how much there may be of each kind; 0: as much as is wanted.
type Amounts [kinds]int64

// Limits are those of one provider in one configuration.
type Limits struct {
	Tenant   Amounts // for each of its tenants
	Provider Amounts // for all of them
	Total    Amounts // for those of all providers

	// Lookups are what reads of the store for unknown tenants have to get through.
	Lookups []*Line
}

// Error says that a budget is spent.
type Error struct {
	What  string
	Total bool // not the tenant's own
}

func (e *Error) Error() string {
	if e.Total {
		return "too many " + e.What
	}
	return "too many " + e.What + " of one tenant"
}

// Status is that of the answer.
func (e *Error) Status() int {
	if e.Total {
		return http.StatusServiceUnavailable
	}
	return http.StatusTooManyRequests
}

// Usage is what is in use. It outlives configurations.
type Usage struct {
	total counts

	mu        sync.Mutex
	providers map[string]*usage
}

// usage is that of one provider.
type usage struct {
	counts
	tenants [shards]shard
}

// counts is how much there is of each kind.
type counts [kinds]atomic.Int64

func (c *counts) take(k Kind, n, limit int64) bool {
	if used := c[k].Add(n); limit > 0 && used > limit {
		c[k].Add(-n)
		return false
	}
	return true
}

func (c *counts) isIdle() bool {
	for k := range c {
		if c[k].Load() != 0 {
			return false
		}
	}
	return true
}

// Provider is what a provider's tenants have in use, under the limits of one configuration.
// The nil Provider has no limits.
type Provider struct {
	Limits
	usage *usage
	total *counts
}

// Provider returns the provider of that name under the limits.
func (u *Usage) Provider(name string, limits Limits) *Provider {
	u.mu.Lock()
	defer u.mu.Unlock()
	known := u.providers[name]
	if known == nil {
		known = new(usage)
		if u.providers == nil {
			u.providers = make(map[string]*usage)
		}
		u.providers[name] = known
	}
	return &Provider{Limits: limits, usage: known, total: &u.total}
}

// Account is what one tenant has in use. The zero Account has no limits.
type Account struct {
	provider *Provider
	tenant   *tenant
}

// Take takes one of a kind for a tenant, which gives it back to the account. The error is
// an [Error].
func (p *Provider) Take(tenant string, k Kind) (Account, error) {
	if p == nil {
		return Account{}, nil
	}
	t, ok := p.usage.take(tenant, k, p.Tenant[k])
	if !ok {
		return Account{}, &Error{What: names[k]}
	}
	a := Account{p, t}
	if !a.takeTotal(k, 1) {
		t.counts[k].Add(-1)
		return Account{}, &Error{What: names[k], Total: true}
	}
	return a, nil
}

// Take takes n more of a kind. The account has something in use. The error is an [Error].
func (a Account) Take(k Kind, n int64) error {
	if a.provider == nil {
		return nil
	}
	if !a.tenant.take(k, n, a.provider.Tenant[k]) {
		return &Error{What: names[k]}
	}
	if !a.takeTotal(k, n) {
		a.tenant.counts[k].Add(-n)
		return &Error{What: names[k], Total: true}
	}
	return nil
}

func (a Account) takeTotal(k Kind, n int64) bool {
	p := a.provider
	if !p.usage.counts.take(k, n, p.Provider[k]) {
		return false
	}
	if !p.total.take(k, n, p.Total[k]) {
		p.usage.counts[k].Add(-n)
		return false
	}
	return true
}

// Give gives n of a kind back.
func (a Account) Give(k Kind, n int64) {
	if a.provider == nil {
		return
	}
	a.tenant.counts[k].Add(-n)
	a.provider.usage.counts[k].Add(-n)
	a.provider.total[k].Add(-n)
}

// shards keep requests of different tenants from waiting for each other.
const shards = 32

// tenant is what one of them has in use.
type tenant struct {
	counts
	changing atomic.Pointer[semaphore.Weighted] // see [Account.Alone]
}

// shard has some tenants' counts. Those of a tenant that has nothing in use stay for a
// while: it comes again as a rule.
type shard struct {
	mu      sync.Mutex
	tenants map[string]*tenant
	sweepAt int // when it has so many, the idle ones are dropped
}

const minSweep = 64

var seed = maphash.MakeSeed()

// take takes one of a kind for a tenant.
func (u *usage) take(name string, k Kind, limit int64) (*tenant, bool) {
	s := &u.tenants[maphash.String(seed, name)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[name]
	if t == nil {
		s.sweep()
		t = new(tenant)
		s.tenants[name] = t
	}
	return t, t.take(k, 1, limit)
}

// sweep makes room for one more. The mutex is held, without which nobody begins to have
// something in use.
func (s *shard) sweep() {
	if len(s.tenants) < s.sweepAt {
		return
	}
	kept := make(map[string]*tenant) // a map does not shrink
	for name, t := range s.tenants {
		if !t.isIdle() {
			kept[name] = t
		}
	}
	s.tenants, s.sweepAt = kept, max(minSweep, 2*len(kept))
}
