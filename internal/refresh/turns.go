package refresh

import (
	"context"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Turns lets one refresh of a credential be under way at a time among several
// coordinators whose stores are the same place: two configurations, say, of which
// one replaces the other and logs in differently. The one that comes later finds
// in the store what the earlier one left there. The zero value is ready for use.
type Turns struct {
	mu    sync.Mutex
	taken map[credential.Key]chan struct{} // closed when the turn is given back
}

// take waits for the turn at key and returns how to give it back, or the error of ctx.
func (t *Turns) take(ctx context.Context, key credential.Key) (giveBack func(), err error) {
	for {
		t.mu.Lock()
		taken := t.taken[key]
		if taken == nil {
			if t.taken == nil {
				t.taken = make(map[credential.Key]chan struct{})
			}
			mine := make(chan struct{})
			t.taken[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.taken, key)
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
