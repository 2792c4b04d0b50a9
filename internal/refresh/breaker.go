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

// allow reports whether the endpoint at url may be asked now. If so, the caller
// reports what came of it.
func (b *breakers) allow(url string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byURL[url]
	if e == nil || e.silent < silentAnswers {
		return true
	}
	if e.probing || now.Before(e.until) {
		return false
	}
	e.probing = true
	return true
}

// cancel takes back an allow that came to nothing.
func (b *breakers) cancel(url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byURL[url]; e != nil {
		e.probing = false
	}
}

// report notes an answer of the endpoint at url, or what was wrong with it.
func (b *breakers) report(url string, trouble *problem, now time.Time) {
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
	e.silent++
	e.probing = false
	longest := maxRest // each request may cost a token that was spent without an answer
	if trouble.unspent {
		longest = maxUnconnected
	}
	e.until = now.Add(backoff(minRest, longest, e.silent-silentAnswers+1))
}
