package credential

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// CacheOptions are the settings of a [Cache]. The zero value of a field means
// its default.
type CacheOptions struct {
	// TTL is how long a credential is used before the store is asked again.
	// Default: 1 minute.
	TTL time.Duration

	// NegativeTTL is how long "no credential" and "not a valid document" are
	// remembered. It is short, because somebody may be waiting for the remedy.
	// Default: 2 seconds, and never more than TTL.
	NegativeTTL time.Duration

	// StaleIfError is how long after its TTL a credential may still be used
	// while the store does not answer. Default: 0, not at all.
	StaleIfError time.Duration

	// Timeout bounds one read of the store. Default: 2 seconds.
	Timeout time.Duration

	// MaxBytes bounds the process's memory that cached documents take, with what the
	// collector leaves uncollected. What is used least goes first. Default: 256 MiB.
	MaxBytes uint64
}

// retryInterval is how long a stale credential is served before a store that did
// not answer is asked again, so that an outage costs one request a second the
// wait and not every request.
const retryInterval = time.Second

// entryOverhead is what an entry takes, in bytes, beside its document and what a provider
// makes of that for requests. BenchmarkCacheMemory measures it.
const entryOverhead = 512

// Cache reads through to a [Store] and remembers what it said. One read of the
// store is under way per key at a time, and it goes on when the caller who
// started it goes away. What nobody asks for leaves the memory within a TTL after it
// could be served for the last time. Cache is safe for concurrent use.
type Cache struct {
	store   Store
	options CacheOptions
	entries *otter.Cache[Key, *entry]
	reads   singleflight.Group
	timed   atomic.Bool // a timer is set, or at work, that drops what is expired

	// The timer's own.
	most     int       // entries at a time, since memory was given back to the system
	released time.Time // when that was
}

// entry is what is known of one key. It is replaced, never changed.
type entry struct {
	credential *Credential // nil if err says why
	err        error
	asOf       time.Time // the store was asked no earlier than this
	retryAt    time.Time // zero unless the last read failed: do not ask before
}

// NewCache makes a cache before store.
func NewCache(store Store, o CacheOptions) *Cache {
	if o.TTL <= 0 {
		o.TTL = time.Minute
	}
	if o.NegativeTTL <= 0 {
		o.NegativeTTL = 2 * time.Second
	}
	o.NegativeTTL = min(o.NegativeTTL, o.TTL)
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	return &Cache{
		store:   store,
		options: o,
		entries: otter.Must(&otter.Options[Key, *entry]{
			MaximumWeight: o.MaxBytes,
			Weigher:       func(_ Key, e *entry) uint32 { return e.weight() },
		}),
	}
}

// Store is the store that c reads.
func (c *Cache) Store() Store { return c.store }

// Gate bounds how many do something at the same time.
type Gate interface {
	// Enter waits, bounded. Who gets in calls leave, once.
	Enter(ctx context.Context) (leave func(), err error)
}

// Get returns the credential under key, from memory if that is recent enough.
// Errors: [ErrNotFound], [ErrInvalid] if the stored document is not a JSON
// object, [ErrUnavailable] if the store does not answer and nothing cached may
// be served, or that of ctx.
func (c *Cache) Get(ctx context.Context, key Key) (*Credential, error) {
	return c.GetThrough(ctx, time.Now(), nil, key)
}

// GetThrough is Get, now, with a gate through which the store is read as long as no
// credential is known under key. Its error is the gate's, too.
func (c *Cache) GetThrough(ctx context.Context, now time.Time, gate Gate, key Key) (*Credential, error) {
	known, ok := c.entries.GetIfPresent(key)
	if ok && c.fresh(known, now) {
		return known.credential, known.err
	}
	read := c.reads.DoChan(key.Provider+"/"+string(key.Tenant), func() (any, error) {
		// Detached: others wait for the same answer, and the next request wants
		// it in the cache.
		ctx := context.WithoutCancel(ctx)
		if gate != nil && (!ok || known.credential == nil) {
			leave, err := gate.Enter(ctx)
			if err != nil {
				return &entry{err: err}, nil
			}
			defer leave()
		}
		ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
		defer cancel()
		return c.read(ctx, key), nil
	})
	select {
	case result := <-read:
		e := result.Val.(*entry)
		return e.credential, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// SetNext notes cred, which is about to be written as the version that it says, or just
// was. It does nothing if c knows already of that version or a later one, or that what
// was there is deleted.
func (c *Cache) SetNext(key Key, cred *Credential) {
	next := &entry{credential: cred, asOf: time.Now()}
	c.entries.Compute(key, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		if found && c.fresh(old, next.asOf) &&
			(errors.Is(old.err, ErrNotFound) || old.credential != nil && old.credential != cred && old.credential.Version() >= cred.Version()) {
			return old, otter.CancelOp
		}
		return next, otter.WriteOp
	})
	c.expireLater()
}

// SetSince notes cred as what the store held at some time since began: what a write or
// a read brought that began then. What c has learnt since goes before it if it is a
// later version. If it is that there is none, nobody can tell which came first, and
// the next Get asks the store.
func (c *Cache) SetSince(key Key, cred *Credential, began time.Time) {
	next := &entry{credential: cred, asOf: time.Now()}
	c.entries.Compute(key, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		switch {
		case !found || old.asOf.Before(began):
			return next, otter.WriteOp
		case errors.Is(old.err, ErrNotFound):
			return nil, otter.InvalidateOp
		case old.credential != nil && old.credential.Version() > cred.Version():
			return old, otter.CancelOp
		}
		return next, otter.WriteOp
	})
	c.expireLater()
}

// SetAbsent notes that the store holds nothing under key now: after a deletion. A
// read of c's own that started earlier does not bring it back.
func (c *Cache) SetAbsent(key Key) {
	c.entries.Set(key, &entry{err: ErrNotFound, asOf: time.Now()})
	c.expireLater()
}

// Forget makes the next Get ask the store.
func (c *Cache) Forget(key Key) { c.entries.Invalidate(key) }

// read asks the store and returns what is to be believed afterwards.
func (c *Cache) read(ctx context.Context, key Key) *entry {
	next := &entry{asOf: time.Now()}
	doc, err := c.store.Get(ctx, key)
	if err == nil {
		known, _ := c.entries.GetEntryQuietly(key)
		if known.Value != nil && known.Value.credential.is(doc) {
			next.credential = known.Value.credential // with what was made of it
		} else {
			next.credential, err = New(doc)
		}
	}
	next.err = err
	answered := err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid)

	believed, _ := c.entries.Compute(key, func(old *entry, found bool) (*entry, otter.ComputeOp) {
		switch {
		case found && old.asOf.After(next.asOf):
			return old, otter.CancelOp // somebody noted something newer meanwhile
		case answered:
			return next, otter.WriteOp
		case found && c.mayServeStale(old, next.asOf):
			stale := *old
			stale.retryAt = time.Now().Add(retryInterval)
			return &stale, otter.WriteOp
		default:
			return next, otter.CancelOp
		}
	})
	c.expireLater()
	if believed == nil {
		return next
	}
	if !answered && !c.fresh(believed, time.Now()) {
		return next
	}
	return believed
}

// fresh reports whether e can be used without asking the store.
func (c *Cache) fresh(e *entry, now time.Time) bool {
	ttl := c.options.TTL
	if e.err != nil {
		ttl = c.options.NegativeTTL
	}
	return now.Sub(e.asOf) < ttl || now.Before(e.retryAt) && c.mayServeStale(e, now)
}

// mayServeStale reports whether e may be used though the store does not answer.
func (c *Cache) mayServeStale(e *entry, now time.Time) bool {
	return e.err == nil && now.Sub(e.asOf) < c.options.TTL+c.options.StaleIfError
}

func (e *entry) weight() uint32 {
	if e.credential == nil {
		return entryOverhead
	}
	// Half as much again for the values of templates: it is mostly one of two tokens. And
	// all of it twice: the collector lets the heap grow to that before it is collected.
	return uint32(len(e.credential.stored)*3) + entryOverhead //nolint:gosec // at most 4 MiB
}
