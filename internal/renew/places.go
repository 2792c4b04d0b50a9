package renew

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// maxSending is how many token requests of one provider wait for the answers of one host.
// Those beyond stand in line, without a claim.
const maxSending = 64

// places bounds how many token requests are under way to each host, so that one that hangs
// is not asked by all tenants before anybody knows that it does. A place is held until the
// answer is here, and no longer than requests wait for it: the tokens of some tenants may
// hang alone, and must not keep the others from theirs.
type places struct {
	mu     sync.Mutex
	byHost map[string]*line
}

type line struct {
	*semaphore.Weighted     // first come, first served
	users               int // who have a place or stand in line
}

// take waits for a place, until ctx ends. Whoever gets one calls leave, any number of times.
func (p *places) take(ctx context.Context, host string) (leave func(), ok bool) {
	p.mu.Lock()
	l := p.byHost[host]
	if l == nil {
		l = &line{Weighted: semaphore.NewWeighted(maxSending)}
		if p.byHost == nil {
			p.byHost = make(map[string]*line)
		}
		p.byHost[host] = l
	}
	l.users++
	p.mu.Unlock()

	if l.Acquire(ctx, 1) != nil {
		p.forget(host, l)
		return nil, false
	}
	return sync.OnceFunc(func() {
		l.Release(1)
		p.forget(host, l)
	}), true
}

// forget drops a line that nobody stands in any more.
func (p *places) forget(host string, l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(p.byHost, host)
	}
}
