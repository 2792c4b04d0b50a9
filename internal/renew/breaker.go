package renew

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

const (
	// recentOutcomes is how many credentials a breaker looks at, those that were used last;
	// minNoAnswers is how many of them at least, and half of them, have had no answer when
	// it opens.
	recentOutcomes = 10
	minNoAnswers   = 3

	// maxBreakers is how many are kept of which there is nothing to tell.
	maxBreakers = 1000

	// maxProbe is how long those that have not failed wait for one of them that tries
	// before another one does.
	maxProbe = 2 * time.Second

	// shortPause is how long they wait at least after one of them that had no answer.
	shortPause = 100 * time.Millisecond
)

// longestPause is how long an open breaker waits at most after a request that had no
// answer.
func longestPause(lane int, wrong *tokenrequest.Error) time.Duration {
	switch {
	case wrong.Unspent:
		return 5 * time.Second // to connect costs nothing
	case lane == unfailed && wrong.Status != 0:
		return time.Second // the endpoint is there: it may be the credential's own fault
	case lane == unfailed:
		return 30 * time.Second // the token may have been spent
	}
	return maxCooldown
}

// breakers keep token endpoints that do not answer from being asked by everybody. A
// breaker opens when half of the credentials that were used last had no answer (none, 500,
// 502, 504). Then one request at a time tries, after a delay that grows, and the first
// answer to any closes it.
//
// What is wrong may be the credentials that got no answer, and not the endpoint. So those
// that have not failed themselves do not wait for those that have: each kind tries on its
// own, and a request of the first kind waits for the one that tries.
type breakers struct {
	places places

	mu    sync.Mutex
	byURL map[string]*breaker
}

type breaker struct {
	recent []attempt // of different credentials, the last one at the end
	open   bool
	lanes  [2]lane
}

// Lanes: of the credentials that have not failed, and of those that have.
const (
	unfailed = iota
	failed
)

// attempt is what came of the last request with a credential.
type attempt struct {
	key      credential.Key
	noAnswer bool
}

// lane is where the requests of one kind stand in line.
type lane struct {
	until   time.Time
	failed  int           // in a row
	probing chan struct{} // not nil: one tries; closed when that is over
	since   time.Time     // when it began to
}

// end lets go who waits for the one that tries.
func (l *lane) end() {
	if l.probing != nil {
		close(l.probing)
		l.probing = nil
	}
}

// permit is what it takes to send a token request.
type permit struct {
	breakers *breakers
	url      string
	key      credential.Key
	lane     int
	probe    chan struct{} // this is the one that tries an open breaker
	leave    func()        // gives the place up
}

// admit returns a permit for the endpoint at url on host, or why there is none, and for how
// long. Whoever gets one reports or cancels. hasFailed says that the credential's own last
// request had no answer; those that have not failed stand in line.
func (b *breakers) admit(ctx context.Context, url, host string, key credential.Key, hasFailed bool) (*permit, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	p := &permit{breakers: b, url: url, key: key, leave: func() {}}
	if hasFailed {
		p.lane = failed
	}
	for {
		// Who waits for an open breaker has no place meanwhile.
		if wait := p.wait(ctx, p.lane == unfailed); wait > 0 {
			return nil, wait, errBreaker
		}
		leave, ok := b.places.take(ctx, host)
		if !ok {
			p.cancel()
			return nil, minCooldown, errBusy
		}
		if !p.isKeptOut() {
			p.leave = leave
			return p, 0, nil
		}
		leave()
	}
}

// wait waits until the request may be made, and returns 0, or for how long it may not. In
// line it waits for shorter pauses, too.
func (p *permit) wait(ctx context.Context, inLine bool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	for {
		probing, pause := p.try(time.Now())
		switch {
		case pause == 0:
			return 0
		case probing == nil && (!inLine || pause > maxProbe):
			return pause
		}
		select {
		case <-probing:
		case <-time.After(pause):
		case <-ctx.Done():
			return minCooldown
		}
	}
}

// try returns for how long to wait, 0 if the request may be made, and for whom who tries.
func (p *permit) try(now time.Time) (probing <-chan struct{}, wait time.Duration) {
	p.breakers.mu.Lock()
	defer p.breakers.mu.Unlock()
	b := p.breakers.byURL[p.url]
	if b == nil || !b.open {
		return nil, 0
	}
	l := &b.lanes[p.lane]
	switch {
	case l.probing != nil && p.lane == failed:
		return nil, minCooldown
	case l.probing != nil && now.Sub(l.since) < maxProbe:
		return l.probing, maxProbe - now.Sub(l.since)
	case now.Before(l.until):
		return nil, l.until.Sub(now)
	}
	l.probing, l.since = make(chan struct{}), now
	p.probe = l.probing
	return nil, 0
}

// stillHolds reports whether the request may be made now, though the breaker may have
// opened since the permit was given.
func (p *permit) stillHolds(ctx context.Context) bool {
	return !p.isKeptOut() || p.wait(ctx, false) == 0
}

// isKeptOut reports whether the breaker is open, and somebody else tries it.
func (p *permit) isKeptOut() bool {
	p.breakers.mu.Lock()
	defer p.breakers.mu.Unlock()
	b := p.breakers.byURL[p.url]
	return b != nil && b.open && p.probe == nil
}

// cancel gives the permit back: no request was made.
func (p *permit) cancel() {
	p.leave()
	p.breakers.mu.Lock()
	defer p.breakers.mu.Unlock()
	p.endProbe(p.breakers.byURL[p.url])
}

// endProbe lets go who waits for this one. The mutex is held; b may be nil.
func (p *permit) endProbe(b *breaker) {
	if p.probe != nil && b != nil && b.lanes[p.lane].probing == p.probe {
		b.lanes[p.lane].end()
	}
	p.probe = nil
}

// report notes what came of the request: an answer, if nothing is wrong or there is one in
// spite of it. It may be called once more when an answer comes late.
func (p *permit) report(wrong *tokenrequest.Error) {
	if wrong != nil && wrong.Unspent && !wrong.NoResponse && wrong.Status == 0 {
		p.cancel() // it was not sent, and that is not the endpoint's fault
		return
	}
	p.leave()
	all := p.breakers
	all.mu.Lock()
	defer all.mu.Unlock()
	b := all.of(p.url)
	noAnswer := wrong != nil && wrong.NoResponse
	probed := p.probe != nil
	b.note(attempt{p.key, noAnswer})
	switch l := &b.lanes[p.lane]; {
	case !noAnswer:
		b.close()
	case b.open && probed:
		l.failed++
		shortest := minCooldown
		if p.lane == unfailed {
			shortest = shortPause
		}
		l.until = time.Now().Add(backoff(shortest, longestPause(p.lane, wrong), l.failed))
	case !b.open && b.shouldOpen():
		b.open = true
		b.lanes[failed].until = time.Now().Add(backoff(minCooldown, maxCooldown, 1))
	}
	p.endProbe(b)
}

// of returns the breaker of url. Of many, those are forgotten that have nothing to tell. The
// mutex is held.
func (b *breakers) of(url string) *breaker {
	known := b.byURL[url]
	if known != nil {
		return known
	}
	if len(b.byURL) >= maxBreakers {
		maps.DeleteFunc(b.byURL, func(_ string, known *breaker) bool { return !known.open && known.noAnswers() == 0 })
	}
	if b.byURL == nil {
		b.byURL = make(map[string]*breaker)
	}
	known = &breaker{}
	b.byURL[url] = known
	return known
}

// note notes what came last of a credential.
func (b *breaker) note(a attempt) {
	b.recent = slices.DeleteFunc(b.recent, func(known attempt) bool { return known.key == a.key })
	b.recent = append(b.recent, a)
	if len(b.recent) > recentOutcomes {
		b.recent = slices.Delete(b.recent, 0, 1)
	}
}

// close closes the breaker after an answer. Those who had none before are forgotten, as it
// may have been their own fault.
func (b *breaker) close() {
	if !b.open {
		return
	}
	b.open = false
	for i := range b.lanes {
		b.lanes[i].until, b.lanes[i].failed = time.Time{}, 0
		b.lanes[i].end()
	}
	b.recent = slices.DeleteFunc(b.recent, func(a attempt) bool { return a.noAnswer })
}

func (b *breaker) noAnswers() (n int) {
	for _, a := range b.recent {
		if a.noAnswer {
			n++
		}
	}
	return n
}

func (b *breaker) shouldOpen() bool {
	n := b.noAnswers()
	return n >= minNoAnswers && 2*n >= len(b.recent)
}
