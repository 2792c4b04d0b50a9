package refresh

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func TestDeadRefreshTokenIsAskedForOnce(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"400":                  {400, `{"error":"invalid_grant","error_description":"canary-r1 is expired"}`},
		"401":                  {401, `{"error":"invalid_grant"}`},
		"200":                  {200, `{"error":"invalid_grant"}`},
		"200 by another name":  {200, `{"error":"bad_refresh_token"}`},
		"200, the token again": {200, `{"error":"invalid_grant","refresh_token":"canary-r1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.answers(always(answer.status, answer.body))
				rejected := f.stored()
				var all sync.WaitGroup
				for range 1000 {
					all.Go(func() {
						for range 10 { // 10,000 calls in 10 minutes
							fresh, err := f.refresh(rejected)
							wantError(t, fresh, err, ErrReauthorizationRequired)
							if errors.Is(err, ErrFailed) {
								t.Errorf("%v is both for now and for good", err)
							}
							time.Sleep(time.Minute)
						}
					})
				}
				all.Wait()
				f.wantAsked(1)

				// Somebody authorizes anew.
				f.answers(rotate)
				f.put(`{"access_token":"canary-new","refresh_token":"canary-r7"}`)
				fresh, err := f.refresh(rejected)
				wantToken(t, fresh, err, "canary-new")
				fresh, err = f.refresh(fresh)
				wantToken(t, fresh, err, "canary-a8")
				f.wantAsked(2)
			})
		})
	}
}

func TestInvalidGrantAfterSomebodyElseRotated(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(func(url.Values) (int, string) {
			f.put(`{"access_token":"canary-their-a","refresh_token":"canary-their-r"}`)
			return 400, `{"error":"invalid_grant"}`
		})
		fresh, err := f.refresh(f.stored())
		wantToken(t, fresh, err, "canary-their-a")
		f.wantAsked(1)
	})
}

func TestMissingRefreshTokenNeedsReauthorization(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.put(`{"access_token":"canary-a1"}`)
		for range 100 {
			fresh, err := f.refresh(rejected)
			wantError(t, fresh, err, ErrReauthorizationRequired)
		}
		f.wantAsked(0)
	})
}

func TestMissingClientSecretFileIsToldAndRests(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.provider = f.newProvider(func(o *scheme.OAuth2) { o.ClientSecret, o.ClientSecretFile = nil, "/nonexistent/secret" })
		fresh, err := f.refresh(f.stored())
		wantError(t, fresh, err, ErrFailed)
		if !strings.Contains(err.Error(), "/nonexistent/secret") {
			t.Errorf("%v does not name the file", err)
		}
		f.wantAsked(0)
	})
}

func TestFailuresRestEverLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(400, `{"error":"invalid_client"}`))
		rejected := f.stored()
		var at []time.Time
		for asked := int64(0); len(at) < 12; time.Sleep(100 * time.Millisecond) {
			fresh, err := f.refresh(rejected)
			wantError(t, fresh, err, ErrFailed)
			if n := f.asked.Load(); n > asked {
				asked, at = n, append(at, time.Now())
			}
		}
		want := minRest
		for i := 1; i < len(at); i++ {
			// The look into the store comes once a second, and the calls every 0.1 s.
			if rest := at[i].Sub(at[i-1]); rest < want || rest > want+want/4+1200*time.Millisecond {
				t.Errorf("rest %d was %v, want %v", i, rest, want)
			}
			want = min(2*want, maxRest)
		}
		f.answers(rotate)
		time.Sleep(2 * maxRest)
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")

		// A success starts it anew.
		f.answers(always(400, `{"error":"invalid_client"}`))
		f.refresh(fresh)
		f.answers(rotate)
		time.Sleep(2 * minRest)
		fresh, err = f.refresh(fresh)
		wantToken(t, fresh, err, "canary-a3")
	})
}

func TestDuringARestTheStoreIsLookedIntoOnceASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(429, ``))
		f.answers(func(url.Values) (int, string) { return 400, `{"error":"invalid_client"}` })
		rejected := f.stored()
		for range 8 { // to make the rest a long one
			f.refresh(rejected)
			time.Sleep(maxRest)
		}
		f.refresh(rejected)
		asked, reads, start := f.asked.Load(), f.store.Gets(), time.Now()
		for range 500 {
			_, err := f.refresh(rejected)
			wantError(t, nil, err, ErrFailed)
			time.Sleep(20 * time.Millisecond)
		}
		if n := f.store.Gets() - reads; n < 9 || n > 11 {
			t.Errorf("%d reads in %v", n, time.Since(start))
		}
		f.wantAsked(asked)

		// A document that changed ends it, with the same refresh token too.
		f.answers(rotate)
		f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"changed"}`)
		time.Sleep(time.Second)
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestWhoWasRejectedWithANewerTokenIsNotHeldBackByTheRest(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(400, `{"error":"invalid_grant"}`))
		old := f.stored()
		_, err := f.refresh(old)
		wantError(t, nil, err, ErrReauthorizationRequired)
		newer := f.put(`{"access_token":"canary-a5","refresh_token":"canary-r5"}`)
		f.answers(rotate)
		fresh, err := f.refresh(newer) // at once, within the second
		wantToken(t, fresh, err, "canary-a6")
		again, err := f.refresh(old)
		wantToken(t, again, err, "canary-a6")
	})
}

func TestWhoWasRejectedWithAnOlderTokenGetsTheNewerOneDespiteTheRest(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := f.stored()
		newer := f.put(`{"access_token":"canary-a5","refresh_token":"dead"}`)
		_, err := f.refresh(newer)
		wantError(t, nil, err, ErrReauthorizationRequired)
		reads := f.store.Gets()
		for range 10 {
			fresh, err := f.refresh(old)
			wantToken(t, fresh, err, "canary-a5")
		}
		if f.store.Gets() != reads {
			t.Error("the store was read for what is known")
		}
	})
}

func TestARestBelongsToItsConfiguration(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(400, `{"error":"invalid_client"}`))
		rejected := f.stored()
		_, err := f.refresh(rejected)
		wantError(t, nil, err, ErrFailed)
		f.answers(rotate)
		f.provider = f.newProvider(nil)
		f.provider.Fingerprint = "2"
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestWhoJoinsAFlightOfAnotherConfigurationDoesNotFailWithIt(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(func(url.Values) (int, string) {
			f.answers(rotate)
			time.Sleep(time.Second)
			return 400, `{"error":"invalid_client"}`
		})
		rejected := f.stored()
		before, after := f.provider, f.newProvider(nil)
		after.Fingerprint = "2"
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := f.Refresh(t.Context(), before, tenant, rejected)
			wantError(t, fresh, err, ErrFailed)
		})
		time.Sleep(time.Millisecond)
		all.Go(func() {
			fresh, err := f.Refresh(t.Context(), after, tenant, rejected)
			wantToken(t, fresh, err, "canary-a2")
		})
		all.Wait()
		f.wantAsked(2)
	})
}

func TestWhatCountsAsSilence(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		cut    bool
		want   bool
	}{
		{200, "", true, true}, {200, "", false, false}, {200, "<html>", false, false}, {400, "", true, false},
		{500, "", false, true}, {501, "", false, true}, {502, "", false, true}, {503, "", false, false}, {504, "", false, true},
		{200, `{"error":"server_error"}`, false, false},
	} {
		a := &answer{status: test.status, body: []byte(test.body), cut: test.cut}
		if _, p := a.classify(); p == nil || p.silent != test.want {
			t.Errorf("%+v: got %+v", test, p)
		}
	}
	if p := noAnswer(io.EOF, true); !p.silent || p.unspent {
		t.Errorf("no answer: %+v", p)
	}
	if p := noAnswer(errGate, false); p.silent || !p.unspent {
		t.Errorf("not sent: %+v", p)
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		value  string
		rest   time.Duration
	}{
		"429 seconds":      {429, "90", 90 * time.Second},
		"503 seconds":      {503, "90", 90 * time.Second},
		"503 date":         {503, "Sat, 01 Jan 2000 00:10:00 GMT", 10 * time.Minute},
		"absurd":           {429, "99999999", maxRetryAfter},
		"not understood":   {429, "soon", minRest},
		"400 is no reason": {400, "90", minRest},
		"negative":         {429, "-5", minRest},
		"in the past":      {429, "Sat, 01 Jan 1990 00:10:00 GMT", minRest},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				rejected := f.stored()
				f.Coordinator = New(f.cache, Options{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					connected(req)
					f.asked.Add(1)
					return &http.Response{StatusCode: test.status, Header: http.Header{"Retry-After": {test.value}}, Body: http.NoBody}, nil
				})})
				start := time.Now() // 2000-01-01 in a bubble
				for f.asked.Load() < 2 {
					_, err := f.refresh(rejected)
					wantError(t, nil, err, ErrFailed)
					time.Sleep(100 * time.Millisecond)
				}
				if rest := time.Since(start); rest < test.rest || rest > test.rest+2*time.Second {
					t.Errorf("rested %v, want %v", rest, test.rest)
				}
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

func TestSilentEndpointIsAskedByOneAtATime(t *testing.T) {
	for name, status := range map[string]int{"no answer": 0, "500": 500, "502": 502, "504": 504} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				// Ten tenants, each rejected twice a second for ten minutes.
				const tenants = 10
				rejected := f.stored()
				for i := range tenants {
					k := credential.Key{Provider: key.Provider, Tenant: credential.Tenant(fmt.Sprint("t", i))}
					if _, err := f.store.Put(t.Context(), k, rejected.Stored(), 0); err != nil {
						t.Fatal(err)
					}
				}
				f.answers(func(url.Values) (int, string) { time.Sleep(time.Second); return status, "" })
				storm := func(d time.Duration) {
					var all sync.WaitGroup
					for i := range tenants {
						all.Go(func() {
							for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
								f.Refresh(t.Context(), f.provider, credential.Tenant(fmt.Sprint("t", i)), rejected)
							}
						})
					}
					all.Wait()
				}
				for range 3 { // open the breaker
					f.refresh(rejected)
					time.Sleep(time.Minute)
				}
				f.most.Store(0)
				storm(10 * time.Minute)
				if n := f.asked.Load(); n < 3+5 || n > 3+15 {
					t.Errorf("%d token requests", n)
				}
				if n := f.most.Load(); n != 1 {
					t.Errorf("%d at once", n)
				}
				// It comes back.
				f.answers(rotate)
				storm(10 * time.Minute)
				for i := range tenants {
					doc, err := f.store.Get(t.Context(), credential.Key{Provider: key.Provider, Tenant: credential.Tenant(fmt.Sprint("t", i))})
					if err != nil {
						t.Fatal(err)
					}
					wantToken(t, parse(t, doc), nil, "canary-a2")
				}
			})
		})
	}
}

func TestBreaker(t *testing.T) {
	var b breakers
	now, silence := time.Now(), &problem{silent: true}
	allow := func(at time.Time, want bool) (probe bool) {
		t.Helper()
		allowed, probe := b.allow("u", at)
		if allowed != want {
			t.Fatalf("allowed: %v, want %v", allowed, want)
		}
		return probe
	}
	silent := func(n int) {
		for range n {
			b.report("u", silence, allow(now, true), now)
		}
	}
	silent(2)
	b.report("u", nil, false, now) // an answer starts the count anew
	silent(2)
	if b.opened("u") {
		t.Error("open after two")
	}
	silent(1)
	if !b.opened("u") || b.opened("other") {
		t.Error("not open after three, or another is")
	}
	for range 20 {
		b.report("u", silence, false, now) // was on its way
	}
	allow(now, false)
	allow(now.Add(minRest-1), false)
	if allowed, _ := b.allow("other", now); !allowed {
		t.Error("another endpoint is refused")
	}
	now = now.Add(2 * minRest)
	if !allow(now, true) {
		t.Error("no probe")
	}
	allow(now.Add(time.Hour), false) // one at a time
	b.cancel("u", true)
	b.report("u", silence, allow(now, true), now)
	allow(now.Add(minRest+minRest/2), false) // the delay grows
	now = now.Add(3 * minRest)
	if !allow(now, true) {
		t.Error("no second probe")
	}
	b.report("u", nil, true, now)
	if first, second := allow(now, true), allow(now, true); first || second || len(b.byURL) != 0 {
		t.Error("an answer does not close the breaker")
	}
}

func TestBreakerOfAnEndpointWithoutConnectionsTriesEveryFewSeconds(t *testing.T) {
	var b breakers
	now := time.Now()
	for range 20 {
		_, probe := b.allow("u", now)
		b.report("u", &problem{silent: true, unspent: true}, probe, now)
		now = now.Add(maxUnconnected + maxUnconnected/4)
	}
	now = now.Add(-maxUnconnected - maxUnconnected/4)
	if allowed, _ := b.allow("u", now.Add(maxUnconnected-1)); allowed {
		t.Error("it tries again before 5 s")
	}
	if allowed, _ := b.allow("u", now.Add(maxUnconnected+maxUnconnected/4)); !allowed {
		t.Error("it does not try again after 6.25 s")
	}
}

// Many are rejected at once, and claim their tokens; what the first get for an
// answer keeps the others from sending theirs.
func TestTokensAreNotSentIntoABreakerThatHasOpened(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		const tenants = 50
		var turn atomic.Int64
		rejected := f.stored()
		for i := range tenants {
			k := credential.Key{Provider: key.Provider, Tenant: credential.Tenant(fmt.Sprint("t", i))}
			if _, err := f.store.Put(t.Context(), k, rejected.Stored(), 0); err != nil {
				t.Fatal(err)
			}
		}
		f.store.Fault = func(op string, _ credential.Key) error {
			if op == storetest.OpPut {
				time.Sleep(time.Duration(turn.Add(1)) * time.Millisecond)
			}
			return nil
		}
		f.answers(always(500, ""))
		var all sync.WaitGroup
		for i := range tenants {
			all.Go(func() {
				f.Refresh(t.Context(), f.provider, credential.Tenant(fmt.Sprint("t", i)), rejected)
			})
		}
		all.Wait()
		f.wait()
		f.wantAsked(silentAnswers)
		claimed := 0
		for i := range tenants {
			doc, err := f.store.Get(t.Context(), credential.Key{Provider: key.Provider, Tenant: credential.Tenant(fmt.Sprint("t", i))})
			if err != nil {
				t.Fatal(err)
			}
			if recordOf(parse(t, doc)).claimed() {
				claimed++
			}
		}
		if claimed != silentAnswers {
			t.Errorf("%d are claimed, %d tokens were sent", claimed, silentAnswers)
		}
	})
}

func TestAnswersThatAreNotPermanent(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"invalid_client":        {401, `{"error":"invalid_client"}`, "token endpoint answered 401, invalid_client"},
		"a secret for a code":   {400, `{"error":"canary-r1"}`, "token endpoint answered 400, unknown_error"},
		"a long code":           {400, `{"error":"` + strings.Repeat("a", 41) + `"}`, "token endpoint answered 400, unknown_error"},
		"code of another type":  {400, `{"error":{"code":1}}`, "token endpoint answered 400, no token response"},
		"page":                  {403, `<html>canary-r1</html>`, "token endpoint answered 403, no token response"},
		"invalid_grant and 503": {503, `{"error":"invalid_grant"}`, "token endpoint answered 503, invalid_grant"},
		"empty 200":             {200, ``, "token endpoint answered 200, no token response"},
		"204":                   {204, ``, "token endpoint answered 204, no token response"},
		"array":                 {200, `[]`, "token endpoint answered 200, no token response"},
		"no token":              {200, `{"ok":true}`, "token response is not usable: access token is missing or not a string"},
		"reset":                 {0, ``, "token endpoint: connection ended without an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.answers(always(test.status, test.body))
				fresh, err := f.refresh(f.stored())
				wantError(t, fresh, err, ErrFailed)
				if errors.Is(err, ErrReauthorizationRequired) || !strings.HasSuffix(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				f.answers(rotate)
				time.Sleep(2 * time.Second)
				fresh, err = f.refresh(f.stored())
				wantToken(t, fresh, err, "canary-a2")
			})
		})
	}
}

// slowBody never ends before the request's deadline.
type slowBody struct{ done <-chan struct{} }

func (b slowBody) Read([]byte) (int, error) { <-b.done; return 0, io.ErrUnexpectedEOF }
func (b slowBody) Close() error             { return nil }

func TestTokenRequestHasADeadline(t *testing.T) {
	for name, transport := range map[string]roundTripper{
		"no header": func(req *http.Request) (*http.Response, error) {
			connected(req)
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
		"no end of the body": func(req *http.Request) (*http.Response, error) {
			connected(req)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: slowBody{req.Context().Done()}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.Coordinator = New(f.cache, Options{Transport: transport})
				start := time.Now()
				fresh, err := f.refresh(f.stored())
				wantError(t, fresh, err, ErrFailed)
				if took := time.Since(start); took != spendDeadline {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
