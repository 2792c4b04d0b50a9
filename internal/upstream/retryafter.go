package upstream

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// RetryAfter heeds an upstream that finds it too much what it is asked (RFC 6585 section 4):
// until the time that it names, none of that tenant's requests is sent. What is known of a
// tenant is known in this process alone, and until the configuration ends. It is not copied.
type RetryAfter struct {
	// Headers are the fields that say how long to wait, in their canonical form. The first
	// that an answer has, and that can be read, counts.
	Headers []string

	// Statuses are those of answers that ask for it; 5 is all from 500 to 599.
	Statuses []int

	// Remaining is a field that says how much may still be asked. Where it is set, an answer
	// of another status than 429 counts only if it has the field, with 0.
	Remaining string

	// Longest is how long at most an upstream is heeded.
	Longest time.Duration

	// Wait is how long requests may wait: one that comes too soon before it is sent, and one
	// that was refused before it is sent once more. Others are refused.
	Wait time.Duration

	mu      sync.Mutex
	until   map[credential.Tenant]time.Time
	sweepAt int // how many tenants, before those that are over are deleted
}

// TooSoonError refuses a request that comes before the time that the upstream named.
type TooSoonError struct {
	After time.Duration // until then
}

func (e *TooSoonError) Error() string {
	return fmt.Sprintf("the upstream has asked to wait for %s", e.After.Round(time.Second))
}

// RetryAfter is After in whole seconds, for a header.
func (e *TooSoonError) RetryAfter() string { return strconv.Itoa(int(math.Ceil(e.After.Seconds()))) }

// await waits until the tenant may be asked for again. The error is a [TooSoonError] or
// that of ctx.
func (r *RetryAfter) await(ctx context.Context, tenant credential.Tenant) (waited bool, err error) {
	r.mu.Lock()
	until, asked := r.until[tenant]
	r.mu.Unlock()
	if !asked {
		return false, nil
	}
	wait := time.Until(until)
	switch {
	case wait <= 0:
		return false, nil
	case wait > r.Wait:
		return false, &TooSoonError{After: wait}
	}
	return true, Pause(ctx, until)
}

// Pause waits until a point in time, and up to a tenth longer, lest all that wait for it go
// on at once. The error is that of ctx.
func Pause(ctx context.Context, until time.Time) error {
	wait := time.Until(until)
	timer := time.NewTimer(wait + rand.N(wait/10+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Heed looks at an answer, and reports until when the upstream wants to be left alone, if it
// does.
func (r *RetryAfter) Heed(tenant credential.Tenant, status int, header http.Header) (until time.Time, asked bool) {
	if !slices.Contains(r.Statuses, status) && !slices.Contains(r.Statuses, status/100) {
		return time.Time{}, false
	}
	if r.Remaining != "" && status != http.StatusTooManyRequests && header.Get(r.Remaining) != "0" {
		return time.Time{}, false
	}
	now := time.Now()
	for _, name := range r.Headers {
		wait, ok := readWait(header.Get(name), now)
		if !ok {
			continue
		}
		if wait <= 0 {
			return time.Time{}, false
		}
		until := now.Add(min(wait, r.Longest))
		r.keep(tenant, now, until)
		return until, true
	}
	return time.Time{}, false
}

// keep keeps the later time: of two answers that were under way together, either may come first.
func (r *RetryAfter) keep(tenant credential.Tenant, now, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until[tenant].After(until) {
		return
	}
	if len(r.until) >= r.sweepAt {
		for tenant, until := range r.until {
			if until.Before(now) {
				delete(r.until, tenant)
			}
		}
		r.sweepAt = max(64, 2*len(r.until))
	}
	if r.until == nil {
		r.until = make(map[credential.Tenant]time.Time)
	}
	r.until[tenant] = until
}

const (
	// Numbers from leastSeconds on are seconds since 1970, those from leastMilliseconds on
	// milliseconds. As a wait either would be more than 30 years.
	leastSeconds      = 1e9
	leastMilliseconds = 1e12
)

// readWait reads how long to wait: seconds or an HTTP date (RFC 9110 section 10.2.3), or as
// others write it: seconds or milliseconds since 1970, a date of RFC 3339, or a duration such
// as 1m30s.
func readWait(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		switch {
		case n != n || n < 0 || n > 1e15:
			return 0, false
		case n >= leastMilliseconds:
			return time.UnixMilli(int64(n)).Sub(now), true
		case n >= leastSeconds:
			return time.UnixMilli(int64(n * 1000)).Sub(now), true
		}
		return time.Duration(n * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now), true
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.Sub(now), true
	}
	wait, err := time.ParseDuration(text)
	return wait, err == nil
}
