package connect

import (
	"sync"
	"time"
)

const (
	// maxUsed bounds a memory of used ids, which takes some 100 bytes for each.
	maxUsed = 1 << 16

	// sweepInterval is how often what has expired is forgotten.
	sweepInterval = time.Minute
)

// What was used up in this process. The flows share it: a new configuration comes
// with new ones, and is not to forget what the old ones saw. Ids are random, so that
// no flow has an id of another's.
var usedLinks, usedStates used

// used remembers which ids were used up, until they expire anyway. It takes no more
// when it is full: to forget would be to take an id twice.
type used struct {
	mu    sync.Mutex
	until map[string]time.Time
	sweep time.Time // not before
}

// has reports whether id is used up.
func (u *used) has(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.until[id]
	return ok
}

// take uses id up. The error is [ErrUsed] if it is so already, or [ErrBusy].
func (u *used) take(id string, until time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.until[id]; ok {
		return ErrUsed
	}
	now := time.Now()
	if !now.Before(u.sweep) {
		for known, end := range u.until {
			if now.After(end) {
				delete(u.until, known)
			}
		}
		u.sweep = now.Add(sweepInterval)
	}
	if len(u.until) >= maxUsed {
		return ErrBusy
	}
	if u.until == nil {
		u.until = map[string]time.Time{}
	}
	u.until[id] = until
	return nil
}

// giveBack undoes take.
func (u *used) giveBack(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.until, id)
}
