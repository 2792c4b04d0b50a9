package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

func limited(after string) *http.Response {
	res := answer(http.StatusTooManyRequests)
	res.Header.Set("Retry-After", after)
	return res
}

func TestWhatBecomesOfARequestThatIsTooMuch(t *testing.T) {
	for _, test := range []struct {
		name     string
		wait     time.Duration
		waited   bool // before it was sent
		sentOnce bool
		tooLarge bool // its body, to be recorded
		answers  []any
		status   int
		tokens   string
		took     time.Duration // at least, and less than a tenth more
	}{
		{name: "it does not wait", answers: []any{limited("5")}, status: 429, tokens: "old"},
		{name: "it waits and is sent again", wait: 10 * time.Second, answers: []any{limited("5"), 200}, status: 200, tokens: "old old", took: 5 * time.Second},
		{name: "once", wait: 10 * time.Second, answers: []any{limited("5"), limited("3")}, status: 429, tokens: "old old", took: 5 * time.Second},
		{name: "not for longer than it may", wait: 10 * time.Second, answers: []any{limited("11")}, status: 429, tokens: "old"},
		{name: "not if it has waited", wait: 10 * time.Second, waited: true, answers: []any{limited("5")}, status: 429, tokens: "old"},
		{name: "not if it is sent once", wait: 10 * time.Second, sentOnce: true, answers: []any{limited("5")}, status: 429, tokens: "old"},
		{name: "not if its body is not recorded", wait: 10 * time.Second, tooLarge: true, answers: []any{limited("5")}, status: 429, tokens: "old"},
		{name: "not if nothing says how long", wait: 10 * time.Second, answers: []any{429}, status: 429, tokens: "old"},
		{name: "with a token that was refused meanwhile", wait: 10 * time.Second, answers: []any{limited("5"), 401, 200}, status: 200, tokens: "old old new", took: 5 * time.Second},
		{name: "after a token was refused", wait: 10 * time.Second, answers: []any{401, limited("5"), 200}, status: 200, tokens: "old new new", took: 5 * time.Second},
		{name: "a second refused token is the last word", wait: 10 * time.Second, answers: []any{401, limited("5"), 401}, status: 401, tokens: "old new new", took: 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, _ := newExchange(t)
				x.Provider.RetryAfter = &upstream.RetryAfter{Headers: []string{"Retry-After"}, Statuses: []int{429}, Longest: time.Minute, Wait: test.wait}
				x.Waited, x.SentOnce = test.waited, test.sentOnce
				if test.tooLarge {
					x.Limits.MaxBody = 4
				}
				s := &script{answers: test.answers}
				start := time.Now()
				res, err := (&Transport{Base: s}).Send(newRequest(t, x, "POST", "http://127.0.0.1/", strings.NewReader("the body")), x)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				took := time.Since(start)
				if res.StatusCode != test.status || strings.Join(s.tokens, " ") != test.tokens || took < test.took || took > test.took+test.took/10 {
					t.Errorf("%d after %v, with %q", res.StatusCode, took, s.tokens)
				}
				if res.Header.Get(HeaderError) != "" || res.Header.Get(HeaderReplay) != "" {
					t.Errorf("the answer says %v", res.Header)
				}
				if len(slices.Compact(s.bodies)) != 1 || s.bodies[0] != "the body" {
					t.Errorf("the bodies were %q", s.bodies)
				}
				x.Close()
				synctest.Wait()
			})
		})
	}
}

func TestClientThatLeavesWhileItsRequestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := newExchange(t)
		x.Provider.RetryAfter = &upstream.RetryAfter{Headers: []string{"Retry-After"}, Statuses: []int{429}, Longest: time.Minute, Wait: time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		s := &script{answers: []any{limited("30"), 200}}
		req := newRequest(t, x, "POST", "http://127.0.0.1/", strings.NewReader("the body")).WithContext(ctx)
		if res, err := (&Transport{Base: s}).Send(req, x); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", res, err)
		}
		if len(s.tokens) != 1 {
			t.Errorf("it was sent %d times", len(s.tokens))
		}
		x.Close()
		synctest.Wait()
	})
}

func TestRequestThatIsSentOnce(t *testing.T) {
	for _, body := range []string{"", "the body"} {
		x, c := newExchange(t)
		x.SentOnce = true
		s := &script{answers: []any{401}}
		res, err := (&Transport{Base: s}).Send(newRequest(t, x, "POST", "http://127.0.0.1/", strings.NewReader(body)), x)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get(HeaderReplay); res.StatusCode != 401 || got != "skipped; reason=not-matched" {
			t.Errorf("%d, %q", res.StatusCode, got)
		}
		c.expect(t, 1, 0, 0)
		if x.body != nil && x.body.IsWhole() {
			t.Error("its body is recorded")
		}
	}
}
