package renew

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// keepAliveStep is how often it is looked whose time comes next.
	keepAliveStep = time.Minute

	// keepAliveAtOnce is how many tenants of a provider are looked at at the same time.
	keepAliveAtOnce = 4

	// minLookPause is between two looks at tenants, so that there are at most 20 a second,
	// and maxLookPause between those at tenants that were not known, if they are few.
	minLookPause = 50 * time.Millisecond
	maxLookPause = time.Second

	// maxKeepAliveRound is how often tenants are listed at least, and how long after a
	// failure at most a tenant is looked at again: an eighth of KeepAlive, if that is less.
	maxKeepAliveRound = time.Hour

	// relistPause is the same for a list that failed.
	relistPause = 5 * time.Minute

	// listPage is how many tenants are listed at a time, and listTimeout how long that takes.
	listPage    = 10_000
	listTimeout = 2 * time.Minute
)

// keepAlive is what is known of the tenants of a provider whose refresh tokens are kept
// alive. It outlives configurations, so that a reload does not have them all read again.
type keepAlive struct {
	running     chan struct{} // has room for one: of an old and a new configuration the old one goes first
	fingerprint string        // of the configuration that it is of
	next        map[credential.Tenant]time.Time
}

// KeepAlive renews the credentials of p whose refresh tokens are not used for as long as its
// KeepAlive says, by the same protocol as [Coordinator.Refresh], until ctx ends. All is
// judged by the store, so that of several processes one does it, and a restart forgets
// nothing: a tenant has two turns in that time, at points that follow from its name, and a
// credential is renewed at the first turn at which its token has not been used for half of it.
//
// For that tenants are listed, and a document is read at most twice in that time, past the
// cache. What is disabled, refused, or has no refresh token is left alone.
func (c *Coordinator) KeepAlive(ctx context.Context, p *Provider, logger *slog.Logger) {
	c.mu.Lock()
	k := c.alive[p.Name]
	if k == nil {
		k = &keepAlive{running: make(chan struct{}, 1)}
		c.alive[p.Name] = k
	}
	c.mu.Unlock()
	select {
	case k.running <- struct{}{}:
		defer func() { <-k.running }()
	case <-ctx.Done():
		return
	}
	if k.fingerprint != p.Fingerprint {
		k.fingerprint, k.next = p.Fingerprint, nil
	}
	ticker := time.NewTicker(keepAliveStep)
	defer ticker.Stop()
	var list time.Time // when tenants are listed next
	complaint := ""
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(list) {
			err := c.listAlive(ctx, p, k)
			list = now.Add(p.keepAliveRound())
			if err != nil {
				list = now.Add(min(relistPause, p.keepAliveRound()))
			}
			complaint = complain(ctx, logger, p.Name, complaint, err)
		}
		c.lookAtDue(ctx, p, k)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// complain logs that tenants cannot be listed, once until that changes, and returns why.
func complain(ctx context.Context, logger *slog.Logger, provider, before string, err error) string {
	switch {
	case ctx.Err() != nil:
		return before
	case err == nil && before != "":
		logger.Info("keep_alive: tenants can be listed again", "provider", provider)
	case err != nil && err.Error() != before:
		logger.Warn("keep_alive: tenants cannot be listed, and refresh tokens of those that nobody knows are not kept alive", "provider", provider, "error", err)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// keepAliveRound is how often tenants are listed.
func (p *Provider) keepAliveRound() time.Duration { return min(p.KeepAlive/8, maxKeepAliveRound) }

// listAlive finds out which tenants there are. Those that were not known before, all of them
// after a start, are looked at soon, one after the other and in an order that is this
// process's own.
func (c *Coordinator) listAlive(ctx context.Context, p *Provider, k *keepAlive) error {
	known := make(map[credential.Tenant]time.Time, len(k.next))
	var found []credential.Tenant
	for after := credential.Tenant(""); ; {
		listing, cancel := context.WithTimeout(ctx, listTimeout)
		page, err := c.store.List(listing, p.Name, after, listPage)
		cancel()
		if err != nil {
			return err
		}
		for _, tenant := range page {
			if at, ok := k.next[tenant]; ok {
				known[tenant] = at
			} else {
				found = append(found, tenant)
			}
		}
		if len(page) < listPage {
			break
		}
		after = page[len(page)-1]
	}
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	now := time.Now()
	pause := p.keepAliveRound() / time.Duration(max(len(found), 1))
	pause = min(max(pause, minLookPause), maxLookPause)
	for i, tenant := range found {
		known[tenant] = now.Add(time.Duration(i) * pause)
	}
	k.next = known
	return nil
}

// lookAtDue looks at the tenants whose time comes before the next step, each at its time.
func (c *Coordinator) lookAtDue(ctx context.Context, p *Provider, k *keepAlive) {
	var due []credential.Tenant
	next := time.Now().Add(keepAliveStep)
	for tenant, at := range k.next {
		if at.Before(next) {
			due = append(due, tenant)
		}
	}
	slices.SortFunc(due, func(a, b credential.Tenant) int { return k.next[a].Compare(k.next[b]) })
	var mu sync.Mutex
	looked := make(map[credential.Tenant]time.Time, len(due))
	var group errgroup.Group
	group.SetLimit(keepAliveAtOnce)
	for _, tenant := range due {
		if !sleep(ctx, max(time.Until(k.next[tenant]), minLookPause)) {
			break
		}
		group.Go(func() error {
			wait := c.lookAtIdle(ctx, p, tenant)
			wait += rand.N(keepAliveStep) //nolint:gosec // so that of several processes one is the first
			mu.Lock()
			defer mu.Unlock()
			looked[tenant] = time.Now().Add(wait)
			return nil
		})
	}
	_ = group.Wait()
	maps.Copy(k.next, looked)
}

// sleep reports false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// lookAtIdle renews a credential whose refresh token has not been used for long enough, and
// returns when to look again. A defect of this program must not end the proxy with it.
func (c *Coordinator) lookAtIdle(ctx context.Context, p *Provider, tenant credential.Tenant) (wait time.Duration) {
	key := credential.Key{Provider: p.Name, Tenant: tenant}
	defer func() {
		if defect := recover(); defect != nil {
			c.tell(key, panicked(defect))
			wait = p.keepAliveRound()
		}
	}()
	reading, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	doc, err := c.store.Get(reading, key)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return p.KeepAlive / 2
	case err != nil:
		return p.keepAliveRound()
	}
	cred, err := credential.New(doc)
	if err != nil {
		return p.KeepAlive / 2
	}
	if wait, alive := p.idleFor(tenant, cred, doc.ReadAt); wait > 0 || !alive {
		return wait
	}
	f, err := c.join(p, key, cred, true)
	if err != nil {
		return p.keepAliveRound()
	}
	select {
	case <-f.released:
	case <-ctx.Done():
		return 0
	}
	if f.err != nil {
		return p.keepAliveRound()
	}
	wait, _ = p.idleFor(tenant, f.credential, time.Now())
	return wait
}
