package refresh

import (
	"log/slog"
	"time"
)

const (
	// recoverInterval is how often unsettled claims are looked at; every
	// adoptEvery-th time journals of dead processes are looked for, too.
	recoverInterval = time.Second
	adoptEvery      = 3

	// maxPostponed is how long at most a document is left alone that waits for a
	// person.
	maxPostponed = 10 * time.Second
)

// Start begins to look for what is not settled: journals of processes that died,
// and claims of this one that came to nothing. It goes on until [Coordinator.Close].
func (c *Coordinator) Start() {
	c.start.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.isClosed() {
			return
		}
		c.recovering.Go(c.recover)
	})
}

func (c *Coordinator) recover() {
	ticker := time.NewTicker(recoverInterval)
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		if tick%adoptEvery == 0 {
			c.adopt()
		}
		c.takeUp()
		select {
		case <-ticker.C:
		case <-c.closed:
			return
		}
	}
}

// adopt takes over what the dead left.
func (c *Coordinator) adopt() {
	entries, err := c.notes.adopt(c.logger())
	if err != nil {
		// At each outage of the store: no news.
		c.logger().Debug("cannot look for journals of dead processes", "error", err)
	}
	for _, found := range entries {
		c.logger().Warn("a dead process left a refresh unfinished", "provider", found.Provider, "answered", found.Answer != nil)
		c.track(&entry{Note: found.Note, answer: found.Answer, noted: found.Answer != nil, adopted: true})
	}
}

// takeUp starts a flight for each key that has something unsettled and none under
// way, unless it rests.
func (c *Coordinator) takeUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for key := range c.unsettled {
		s := c.state(key, now)
		if s.flight != nil || now.Before(s.recoverAt) || c.isClosed() {
			continue
		}
		p := c.provider(key.Provider)
		if p == nil || p.Scheme.OAuth2() == nil {
			// Nobody knows how to go on. Another configuration may.
			s.recoverAt = now.Add(maxPostponed)
			c.logger().Error("a claim stays unfinished: its provider is not configured", "provider", key.Provider)
			continue
		}
		if r := s.rest; r.active(p, now) && !r.until.IsZero() {
			continue
		}
		c.begin(s, p, key, nil, false)
	}
}

// SetLogger sets where things are logged that belong to no provider. Default:
// nowhere.
func (c *Coordinator) SetLogger(logger *slog.Logger) { c.log.Store(logger) }

func (c *Coordinator) logger() *slog.Logger {
	if logger := c.log.Load(); logger != nil {
		return logger
	}
	return slog.New(slog.DiscardHandler)
}
