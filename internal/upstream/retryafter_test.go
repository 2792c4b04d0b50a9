package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func newRetryAfter(wait time.Duration) *RetryAfter {
	return &RetryAfter{
		Headers:  []string{"X-Ratelimit-Reset", "Retry-After"},
		Statuses: []int{429, 403, 5}, Remaining: "X-Ratelimit-Remaining",
		Longest: time.Minute, Wait: wait,
	}
}

func TestWhichAnswersAskToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(26 * 365 * 24 * time.Hour) // synctest's clock begins in 2000
		now := time.Now().UTC()
		for name, test := range map[string]struct {
			status int
			header []string
			wait   time.Duration // 0: it does not ask
		}{
			"seconds":                       {429, []string{"Retry-After", "7"}, 7 * time.Second},
			"a fraction":                    {429, []string{"Retry-After", "0.5"}, time.Second / 2},
			"a date":                        {429, []string{"Retry-After", now.Add(9 * time.Second).Format(http.TimeFormat)}, 9 * time.Second},
			"a date of RFC 3339":            {429, []string{"Retry-After", now.Add(9 * time.Second).Format(time.RFC3339)}, 9 * time.Second},
			"seconds since 1970":            {429, []string{"X-Ratelimit-Reset", fmt.Sprint(now.Add(11 * time.Second).Unix())}, 11 * time.Second},
			"milliseconds since 1970":       {429, []string{"X-Ratelimit-Reset", fmt.Sprint(now.Add(11 * time.Second).UnixMilli())}, 11 * time.Second},
			"a duration":                    {429, []string{"X-Ratelimit-Reset", "6ms"}, 6 * time.Millisecond},
			"the first that can be read":    {429, []string{"X-Ratelimit-Reset", "soon", "Retry-After", "7"}, 7 * time.Second},
			"the first of two":              {429, []string{"X-Ratelimit-Reset", "3", "Retry-After", "7"}, 3 * time.Second},
			"an hour":                       {429, []string{"Retry-After", "3600"}, time.Minute},
			"a year":                        {429, []string{"Retry-After", "31536000"}, time.Minute},
			"nothing":                       {429, nil, 0},
			"no wait":                       {429, []string{"Retry-After", "0"}, 0},
			"a past date":                   {429, []string{"Retry-After", now.Add(-time.Hour).Format(http.TimeFormat)}, 0},
			"a past time":                   {429, []string{"Retry-After", fmt.Sprint(now.Add(-time.Hour).Unix())}, 0},
			"less than nothing":             {429, []string{"Retry-After", "-7"}, 0},
			"a negative duration":           {429, []string{"Retry-After", "-7s"}, 0},
			"no number":                     {429, []string{"Retry-After", "NaN"}, 0},
			"infinity":                      {429, []string{"Retry-After", "Inf"}, 0},
			"more than there is":            {429, []string{"Retry-After", "1e300"}, 0},
			"a class of statuses":           {503, []string{"Retry-After", "7", "X-Ratelimit-Remaining", "0"}, 7 * time.Second},
			"another status":                {404, []string{"Retry-After", "7"}, 0},
			"nothing remaining":             {403, []string{"Retry-After", "7", "X-Ratelimit-Remaining", "0"}, 7 * time.Second},
			"something remaining":           {403, []string{"Retry-After", "7", "X-Ratelimit-Remaining", "12"}, 0},
			"nothing said of what remains":  {403, []string{"Retry-After", "7"}, 0},
			"429 though something remains":  {429, []string{"Retry-After", "7", "X-Ratelimit-Remaining", "12"}, 7 * time.Second},
			"a field of another upstream's": {429, []string{"X-Retry", "7"}, 0},
		} {
			header := make(http.Header)
			for i := 0; i < len(test.header); i += 2 {
				header.Set(test.header[i], test.header[i+1])
			}
			r := newRetryAfter(0)
			until, asked := r.Heed(acme, test.status, header)
			if asked != (test.wait > 0) || asked && time.Until(until) != test.wait {
				t.Errorf("%s: until %v, asked %v; want %v", name, time.Until(until), asked, test.wait)
			}
			_, err := r.await(t.Context(), acme)
			if tooSoon, ok := errors.AsType[*TooSoonError](err); ok != asked || ok && tooSoon.After != test.wait {
				t.Errorf("%s: the next request gets %v", name, err)
			}
		}
	})
}

func TestATenantWaitsAndOthersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.RetryAfter = newRetryAfter(0)
		o.put(time.Hour)
		o.expect("old", false, "")
		o.provider.RetryAfter.Heed("globex", 429, http.Header{"Retry-After": {"5"}})
		o.expect("old", false, "")
		o.provider.RetryAfter.Heed(acme, 429, http.Header{"Retry-After": {"5"}})
		o.provider.RetryAfter.Heed(acme, 429, http.Header{"Retry-After": {"2"}}) // it was under way, too
		time.Sleep(4 * time.Second)
		_, err := o.Open(t.Context(), o.provider, acme)
		if tooSoon, ok := errors.AsType[*TooSoonError](err); !ok || tooSoon.After != time.Second {
			t.Errorf("after 4 s: %v", err)
		}
		time.Sleep(time.Second)
		o.expect("old", false, "")
	})
}

func TestRequestsWaitIfTheyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.RetryAfter = newRetryAfter(10 * time.Second)
		o.put(time.Hour)
		o.provider.RetryAfter.Heed(acme, 429, http.Header{"Retry-After": {"10"}})
		start := time.Now()
		opened, err := o.Open(t.Context(), o.provider, acme)
		if waited := time.Since(start); err != nil || !opened.Waited || waited < 10*time.Second || waited > 11*time.Second {
			t.Errorf("after %v: %v, waited %v", waited, err, opened.Waited)
		}
		o.provider.RetryAfter.Heed(acme, 429, http.Header{"Retry-After": {"10"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := o.Open(ctx, o.provider, acme); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that leaves: %v", err)
		}
		o.provider.RetryAfter.Heed(acme, 429, http.Header{"Retry-After": {"30"}})
		if _, err := o.Open(t.Context(), o.provider, acme); !errors.As(err, new(*TooSoonError)) {
			t.Errorf("longer than it may wait: %v", err)
		}
	})
}

func TestWhatIsOverIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRetryAfter(0)
		for i := range 10_000 {
			r.Heed(credential.Tenant(fmt.Sprint("tenant-", i)), 429, http.Header{"Retry-After": {"1"}})
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(r.until); n > 300 {
			t.Errorf("%d tenants are known, of whom 100 have to wait", n)
		}
	})
}

func FuzzReadWait(f *testing.F) {
	for _, text := range []string{"7", "1e12", "Sun, 06 Nov 1994 08:49:37 GMT", "1m30s", "2026-01-01T00:00:00Z", "-1", "NaN"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newRetryAfter(0)
		until, asked := r.Heed(acme, 429, http.Header{"Retry-After": {text}})
		if wait := time.Until(until); asked && wait > time.Minute {
			t.Errorf("%q: %v", text, wait)
		}
	})
}
