package links

import (
	"context"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// turns has the requests for one tenant's links use the store one after the other, and
// only so many wait: a tenant's flood of them is on no other's way. It remembers those
// that wait and nothing else.
type turns struct {
	mu sync.Mutex
	of map[credential.Key]*turn
}

type turn struct {
	waiting int // who has it included
	free    chan struct{}
}

// take waits for key's turn, until done is called. The error is a [QuotaError] or that
// of ctx.
func (t *turns) take(ctx context.Context, key credential.Key) (done func(), err error) {
	t.mu.Lock()
	one := t.of[key]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		if t.of == nil {
			t.of = make(map[credential.Key]*turn)
		}
		t.of[key] = one
	}
	if one.waiting >= maxWaiting {
		t.mu.Unlock()
		return nil, &QuotaError{What: "requests for one tenant's links", RetryAfter: time.Second}
	}
	one.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.waiting--; one.waiting == 0 {
			delete(t.of, key)
		}
	}
	select {
	case one.free <- struct{}{}:
		return func() { <-one.free; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
