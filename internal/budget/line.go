package budget

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// lookupWait is how long a lookup stands in line.
	lookupWait = 2 * time.Second

	// changeWait is how long a change of a credential waits for those before it, of which
	// there are no more than the tenant may have calls.
	changeWait = 10 * time.Second
)

// Line lets so many do something at a time, first come, first served.
type Line struct{ places *semaphore.Weighted }

// NewLine makes one with n places; none if n is 0, which lets everybody through.
func NewLine(n int64) *Line {
	if n == 0 {
		return nil
	}
	return &Line{semaphore.NewWeighted(n)}
}

// Enter waits, bounded, until the store may be read for a tenant of which nothing is
// known. Who gets in calls leave, once. The error is an [Error], or that of ctx.
func (p *Provider) Enter(ctx context.Context) (leave func(), err error) {
	if p == nil {
		return func() {}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	var entered []*Line
	leave = func() {
		for _, l := range entered {
			l.places.Release(1)
		}
	}
	for _, l := range p.Lookups {
		if l == nil {
			continue
		}
		if l.places.Acquire(bounded, 1) != nil {
			leave()
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, &Error{What: "reads of the store for unknown tenants", Total: true}
		}
		entered = append(entered, l)
	}
	return leave, nil
}

// Alone waits, bounded, until nobody else changes the tenant's credential: one change at a
// time leaves the processor to others, and two get in each other's way. Who gets in calls
// leave, once. The account has something in use. The error is an [Error], or that of ctx.
func (a Account) Alone(ctx context.Context) (leave func(), err error) {
	if a.provider == nil {
		return func() {}, nil
	}
	changing := a.tenant.changing.Load()
	if changing == nil {
		a.tenant.changing.CompareAndSwap(nil, semaphore.NewWeighted(1))
		changing = a.tenant.changing.Load()
	}
	bounded, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	if changing.Acquire(bounded, 1) != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, &Error{What: "changes of the credential"}
	}
	return func() { changing.Release(1) }, nil
}
