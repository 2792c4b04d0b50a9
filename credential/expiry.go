package credential

import (
	"runtime/debug"
	"time"
	"weak"

	"github.com/maypok86/otter/v2"
)

// Expired entries leave the memory without anybody asking for them: a timer looks for
// them, four times in a TTL. The first entry of an empty cache sets it, the last one's
// departure ends it, and it holds the cache weakly, so that a cache needs no Close and
// keeps no goroutine. A hit pays nothing for it: how old an entry is says all that is
// needed, since one that is asked for is read anew once a TTL. The expiry that otter has
// keeps a goroutine in every cache and reads the clock once more in every hit.

// Len is how many keys something is remembered of, what the store does not hold included.
func (c *Cache) Len() int { return c.entries.EstimatedSize() }

// expireLater sets the timer unless it is set. It is called after each write of an entry.
func (c *Cache) expireLater() {
	if c.timed.Load() || !c.timed.CompareAndSwap(false, true) {
		return
	}
	cache := weak.Make(c)
	time.AfterFunc(c.linger()/2, func() {
		if c := cache.Value(); c != nil {
			c.expire()
		}
	})
}

// expire drops what is expired.
func (c *Cache) expire() {
	now, before := time.Now(), c.Len()
	for key, e := range c.entries.All() {
		if !c.expired(e, now) {
			continue
		}
		c.entries.ComputeIfPresent(key, func(e *entry) (*entry, otter.ComputeOp) {
			if c.expired(e, now) {
				return nil, otter.InvalidateOp
			}
			return e, otter.CancelOp
		})
	}
	c.release(now, before)
	// In this order: who wrote an entry and found the timer set relies on this look.
	c.timed.Store(false)
	if c.Len() > 0 {
		c.expireLater()
	}
}

// manyEntries is how many entries have to be gone for their memory to be given back to
// the system at once: some 20 MiB.
const manyEntries = 10_000

// release gives memory back to the system once most entries are gone. By itself Go
// would do it only after its next collection, which without much traffic is up to two
// minutes away. It costs a collection, so a cache that goes on being full, with other
// entries, does without, and one that empties waits for the last of them.
func (c *Cache) release(now time.Time, before int) {
	left := c.Len()
	c.most = max(c.most, before)
	gone := c.most - left
	over := left == 0 || before-left <= gone/32
	if gone < manyEntries || left > c.most/2 || !over || now.Sub(c.released) < c.options.TTL {
		return
	}
	c.most, c.released = left, now
	debug.FreeOSMemory()
}

// expired reports whether e is of no use any more.
func (c *Cache) expired(e *entry, now time.Time) bool {
	use := c.options.TTL + c.options.StaleIfError
	if e.err != nil {
		use = c.options.NegativeTTL
	}
	return now.Sub(e.asOf) >= use+c.linger()
}

// linger is how long an entry stays after it could be served for the last time. It still
// says then whether a read or a write that began earlier brings something newer, and
// keeps what was made of a document that the next read finds unchanged.
func (c *Cache) linger() time.Duration { return max(c.options.TTL/2, c.options.Timeout) }
