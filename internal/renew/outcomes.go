package renew

import (
	"container/list"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// maxOutcomes bounds the memory of what happened last.
const maxOutcomes = 10_000

// outcomes are what happened last to credentials, those of the last ones.
type outcomes struct {
	mu    sync.Mutex
	byKey map[credential.Key]*list.Element
	order list.List // of Event, the newest in front
}

func (o *outcomes) note(e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := credential.Key{Provider: e.Provider, Tenant: e.Tenant}
	if known := o.byKey[key]; known != nil {
		known.Value = e
		o.order.MoveToFront(known)
		return
	}
	if o.byKey == nil {
		o.byKey = make(map[credential.Key]*list.Element)
	}
	o.byKey[key] = o.order.PushFront(e)
	if o.order.Len() > maxOutcomes {
		oldest := o.order.Remove(o.order.Back()).(Event)
		delete(o.byKey, credential.Key{Provider: oldest.Provider, Tenant: oldest.Tenant})
	}
}

// LastOutcome returns what happened last to a credential in this process, as far as it
// remembers: 10,000 credentials at most. A claim alone is no outcome.
func (c *Coordinator) LastOutcome(key credential.Key) (Event, bool) {
	c.outcomes.mu.Lock()
	defer c.outcomes.mu.Unlock()
	known := c.outcomes.byKey[key]
	if known == nil {
		return Event{}, false
	}
	return known.Value.(Event), true
}

// LastOutcomes returns what happened last to each credential of a provider, as far as
// this process remembers, the newest first.
func (c *Coordinator) LastOutcomes(provider string) []Event {
	c.outcomes.mu.Lock()
	defer c.outcomes.mu.Unlock()
	var all []Event
	for at := c.outcomes.order.Front(); at != nil; at = at.Next() {
		if e := at.Value.(Event); e.Provider == provider {
			all = append(all, e)
		}
	}
	return all
}
