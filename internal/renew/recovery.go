package renew

import (
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// recoverInterval is how often claims that are not settled are looked at; every
	// adoptEvery-th time journals of exited processes are looked for, too.
	recoverInterval = time.Second
	adoptEvery      = 3

	// maxRecoveries is how many credentials are settled at the same time that nobody asks
	// for, and maxOfProvider how many of them of one provider whose tokens are to be sent.
	maxRecoveries = 8
	maxOfProvider = 4

	// recoveryWait is how long one of them waits for a token endpoint's answer. After that
	// it is listened for, and another one has its turn.
	recoveryWait = 2 * time.Second

	// maxPostponed is how long at most a document is left alone that waits for a
	// person.
	maxPostponed = 10 * time.Second
)

// Start begins to look for what is not settled: journals of processes that exited,
// and claims of this one that came to nothing. It goes on until [Coordinator.Close].
func (c *Coordinator) Start() {
	c.start.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.isClosed() {
			c.recovering.Go(c.recover)
		}
	})
}

func (c *Coordinator) recover() {
	ticker := time.NewTicker(recoverInterval)
	defer ticker.Stop()
	for tick := 0; ; {
		if tick%adoptEvery == 0 {
			c.guard(c.adopt)
		}
		c.guard(c.takeUp)
		select {
		case <-ticker.C:
			tick++
		case <-c.wake:
		case <-c.closed.Done():
			return
		}
	}
}

// guard calls do. A defect of this program must not end the proxy with it.
func (c *Coordinator) guard(do func()) {
	defer func() {
		if defect := recover(); defect != nil {
			c.tell(credential.Key{}, panicked(defect))
		}
	}()
	do()
}

// adopt takes over what exited processes left.
func (c *Coordinator) adopt() {
	if c.journal == nil {
		return
	}
	pending, left, _ := c.journal.Adopt() // An error at each outage of the store is no news.
	for _, file := range left {
		if c.options.ObserveJournal != nil {
			c.options.ObserveJournal(file)
		}
	}
	for _, found := range pending {
		claim := &pendingClaim{ClaimRecord: found.ClaimRecord, answer: found.Answer, journaled: found.Answer != nil, adopted: true, maybeSpent: true}
		c.tell(claim.key(), Event{Kind: Adopted, FromJournal: true})
		c.track(claim)
	}
}

// takeUp starts a flight for some of the keys that have something pending and none under
// way, unless they cool down.
func (c *Coordinator) takeUp() {
	for _, key := range c.takeUpSome() {
		c.tell(key, Event{Kind: Failed, Err: errNoProvider})
	}
}

// takeUpSome returns the keys that nobody knows any more how to go on with, each once.
func (c *Coordinator) takeUpSome() (orphans []credential.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	running, ofProvider := 0, make(map[string]int)
	for key := range c.pending {
		if f := c.states[key].flight; f != nil && f.recovery {
			running++
			ofProvider[key.Provider]++
		}
	}
	begin := func(key credential.Key, p *Provider) {
		c.begin(c.states[key], p, key, nil, false)
		running++
		ofProvider[key.Provider]++
	}
	var unanswered []credential.Key
	for key := range c.pending {
		s, p := c.states[key], c.options.Provider(key.Provider)
		switch {
		case s.flight != nil || now.Before(s.recoverAt) || c.isClosed():
		case p == nil || p.Renewer == nil:
			if s.recoverAt = now.Add(maxPostponed); s.postponed == 0 {
				orphans = append(orphans, key)
			}
			s.postponed++
		case s.canBeFinished(p, now) && running < maxRecoveries:
			begin(key, p) // first what is known, before others send a token again
		case s.isUnanswered() && (!s.cooldown.active(p, now) || s.cooldown.until.IsZero()):
			unanswered = append(unanswered, key)
		}
	}
	for _, key := range unanswered {
		if running < maxRecoveries && ofProvider[key.Provider] < maxOfProvider {
			begin(key, c.options.Provider(key.Provider))
		}
	}
	c.sweep(now)
	return orphans
}

// takeUpNow starts a flight for what can be finished for key. The mutex is held.
func (c *Coordinator) takeUpNow(key credential.Key) {
	s, now := c.states[key], time.Now()
	if s == nil || s.flight != nil || now.Before(s.recoverAt) || c.isClosed() {
		return
	}
	if p := c.options.Provider(key.Provider); p != nil && p.Renewer != nil && s.canBeFinished(p, now) {
		c.begin(s, p, key, nil, false)
	}
}

// canBeFinished reports whether a claim can be settled by what is known.
func (s *state) canBeFinished(p *Provider, now time.Time) bool {
	return slices.ContainsFunc(s.claims, func(claim *pendingClaim) bool { return claim.canBeFinished(p, now) })
}

// isUnanswered reports whether there is a claim without an answer that nobody listens for.
func (s *state) isUnanswered() bool {
	return slices.ContainsFunc(s.claims, func(claim *pendingClaim) bool { return claim.answer == nil && !claim.listening })
}
