package refresh

import (
	"sync"
	"time"
)

const (
	// silentAnswers in a row open the breaker of a token endpoint.
	silentAnswers = 3

	// maxUnconnected is how long an open breaker waits at most after an attempt to
	// connect that failed: it costs nothing.
	maxUnconnected = 5 * time.Second
)

// breakers keep token endpoints that do not answer from being asked by everybody:
// after three silent answers in a row (none, 500, 502, 504) an endpoint is asked
// by one request at a time, after a delay that grows.
type breakers struct {
	mu    sync.Mutex
	byURL map[string]*breaker // those that were silent last
}

type breaker struct {
	silent  int // answers in a row
	until   time.Time
	probing bool // one request is under way though the breaker is open
}

// allow reports whether the endpoint at url may be asked now, and whether that is
// the one request that tries an open breaker. If so, the caller calls report or
// cancel.
func (b *breakers) allow(url string, now time.Time) (allowed, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byURL[url]
	if e == nil || e.silent < silentAnswers {
		return true, false
	}
	if e.probing || now.Before(e.until) {
		return false, false
	}
	e.probing = true
	return true, true
}

// opened reports whether the breaker of url is open now: a request that was allowed
// before that, and is not the probe, is better not sent.
func (b *breakers) opened(url string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byURL[url]
	return e != nil && e.silent >= silentAnswers
}

// cancel takes back an allow that came to nothing.
func (b *breakers) cancel(url string, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byURL[url]; e != nil && probe {
		e.probing = false
	}
}

// report notes an answer of the endpoint at url, or what was wrong with it. What was
// on its way when the breaker opened does not make it wait longer.
func (b *breakers) report(url string, trouble *problem, probe bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trouble == nil || !trouble.silent {
		delete(b.byURL, url)
		return
	}
	e := b.byURL[url]
	if e == nil {
		e = &breaker{}
		if b.byURL == nil {
			b.byURL = make(map[string]*breaker)
		}
		b.byURL[url] = e
	}
	if e.silent >= silentAnswers && !probe {
		return
	}
	e.silent++
	e.probing = false
	longest := maxRest // each request may cost a token that was spent without an answer
	if trouble.unspent {
		longest = maxUnconnected
	}
	e.until = now.Add(backoff(minRest, longest, e.silent-silentAnswers+1))
}
