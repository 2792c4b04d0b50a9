package upstream

import (
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// maxSkew is how far an upstream's clock and ours may be apart: tokens and signatures are
	// good for some minutes.
	maxSkew = time.Minute

	// skewCounts is how long what an answer said of the time counts, if no other says
	// something else.
	skewCounts = time.Hour
)

// Clock is how far an upstream's is from ours, by what it says when it refuses a credential
// (Date, RFC 9110 section 6.6.1). The zero value knows nothing. It is not copied.
type Clock struct {
	skew atomic.Pointer[skew]
}

type skew struct {
	ahead time.Duration
	at    time.Time // when it was seen
	told  time.Time // when it was last news
}

// Look looks at the header of an answer that has just come, and reports whether it is news that
// the clocks are apart: once in an hour at most.
func (c *Clock) Look(header http.Header) (ahead time.Duration, news bool) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" { // a cache's answer is of another time
		return 0, false
	}
	now, last := time.Now(), c.skew.Load()
	if ahead = date.Sub(now).Round(time.Second); ahead.Abs() <= maxSkew {
		ahead = 0
	}
	seen := &skew{ahead: ahead, at: now}
	if last != nil {
		seen.told = last.told
	}
	news = ahead != 0 && now.Sub(seen.told) >= skewCounts
	if news {
		seen.told = now
	}
	return ahead, c.skew.CompareAndSwap(last, seen) && news
}

// Ahead returns by how much the upstream's clock is ahead of ours, if that was seen in the
// last hour and is more than a minute; else 0.
func (c *Clock) Ahead() time.Duration {
	if s := c.skew.Load(); s != nil && time.Since(s.at) < skewCounts {
		return s.ahead
	}
	return 0
}
