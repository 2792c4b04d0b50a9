package refresh

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// inBubble runs a test on synthetic time with a new fixture.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFixture(t)) })
}

func TestRefreshRotatesAndCommits(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var form url.Values
		f.answers(func(got url.Values) (int, string) { form = got; return rotate(got) })
		fresh, err := f.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		f.wait()
		wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		wantToken(t, f.cached(), nil, "canary-a2")
		if fresh.Version() != 3 || f.cached().Version() != 3 { // 2 is the claim
			t.Errorf("versions %d and %d, want 3", fresh.Version(), f.cached().Version())
		}
		if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "canary-r1" || len(form) != 2 {
			t.Errorf("form %v", form)
		}
		if log := f.log.String(); !strings.Contains(log, `msg="credential refreshed" provider=crm duration=`) {
			t.Errorf("log: %s", log)
		}
	})
}

func TestAThousandCallsSpendOneToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(func(form url.Values) (int, string) { time.Sleep(time.Second); return rotate(form) })
		rejected := f.stored()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				fresh, err := f.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
			})
		}
		all.Wait()
		f.wantAsked(1)
	})
}

func TestRefreshAdoptsWhatTheStoreHas(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		f.cached()
		f.put(`{"access_token":"canary-other","refresh_token":"canary-r9"}`)
		for range 100 {
			fresh, err := f.refresh(rejected)
			wantToken(t, fresh, err, "canary-other")
		}
		f.wantAsked(0)
		wantToken(t, f.cached(), nil, "canary-other")
	})
}

func TestACallThatJoinsLateIsNotGivenItsOwnTokenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := f.stored()
		second := f.put(`{"access_token":"canary-a2","refresh_token":"canary-r2"}`)
		// The flight for old only adopts; who was rejected with what it adopts
		// joins it and still needs a new one.
		f.store.Fault = func(op string, _ credential.Key) error { time.Sleep(time.Second); return nil }
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := f.refresh(old)
			wantToken(t, fresh, err, "canary-a2")
		})
		time.Sleep(100 * time.Millisecond)
		all.Go(func() {
			fresh, err := f.refresh(second)
			wantToken(t, fresh, err, "canary-a3")
		})
		all.Wait()
		f.wantAsked(1)
	})
}

func TestRefreshGoesOnWithoutItsClient(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(func(form url.Values) (int, string) { time.Sleep(time.Second); return rotate(form) })
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		fresh, err := f.Refresh(ctx, f.provider, tenant, f.stored())
		wantError(t, fresh, err, ErrFailed)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v does not tell that the client went", err)
		}
		f.wait()
		f.wantAsked(1)
		wantToken(t, f.stored(), nil, "canary-a2")
	})
}

func TestACallWaitsForFifteenSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		block := make(chan struct{})
		f.store.Fault = func(string, credential.Key) error { <-block; return nil }
		f.answers(func(form url.Values) (int, string) { <-block; return rotate(form) })
		rejected := parse(t, credential.Document{Data: []byte(`{"access_token":"canary-a1"}`), Version: 1})
		// A store that hangs is given up first.
		start := time.Now()
		fresh, err := f.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		if took := time.Since(start); took != storeTimeout {
			t.Errorf("a store that hangs took %v", took)
		}
		// One that is slow, around an endpoint that is slow, takes longer.
		f.store.Fault = func(op string, _ credential.Key) error {
			if op == storetest.OpPut {
				time.Sleep(2900 * time.Millisecond)
			} else {
				time.Sleep(4900 * time.Millisecond)
			}
			return nil
		}
		f.answers(func(url.Values) (int, string) {
			time.Sleep(6900 * time.Millisecond)
			return 400, `{"error":"invalid_grant"}`
		})
		start = time.Now()
		fresh, err = f.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		if took := time.Since(start); took != maxWait || !errors.Is(err, errWaited) {
			t.Errorf("waited %v: %v", took, err)
		}
		close(block)
	})
}

func TestDeletedCredentialIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.cached()
		if err := f.store.Delete(context.Background(), key); err != nil {
			t.Fatal(err)
		}
		fresh, err := f.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		if _, err := f.cache.Get(context.Background(), key); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("the cache still has it: %v", err)
		}
		f.wantAsked(0)
	})
}

func TestCredentialWithoutOAuth2IsReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		s, err := scheme.New(scheme.Options{Headers: []scheme.Header{{Name: "X-Key", Value: text(t, "{credential.api_key}")}}})
		if err != nil {
			t.Fatal(err)
		}
		f.provider = &Provider{Name: key.Provider, Scheme: s}
		rejected := f.put(`{"api_key":"canary-k1"}`)
		before := f.store.Gets()
		for range 1000 {
			_, err := f.refresh(rejected)
			wantError(t, nil, err, ErrUnchanged)
			wantError(t, nil, err, ErrFailed)
			time.Sleep(10 * time.Millisecond)
		}
		if reads := f.store.Gets() - before; reads < 9 || reads > 11 {
			t.Errorf("%d reads in 10 s", reads)
		}
		f.put(`{"api_key":"canary-k1","comment":"not for this scheme"}`)
		time.Sleep(2 * time.Second)
		_, err = f.refresh(rejected)
		wantError(t, nil, err, ErrUnchanged)
		f.put(`{"api_key":"canary-k2"}`)
		time.Sleep(2 * time.Second)
		fresh, err := f.refresh(rejected)
		if err != nil || fresh.Get("api_key").Str != "canary-k2" {
			t.Errorf("got %v, %v", fresh, err)
		}
		f.Ahead(f.provider, tenant, fresh)
		f.Rejected(f.provider, tenant, fresh)
		f.Accepted(f.provider, tenant, fresh)
		f.wantAsked(0)
	})
}

func TestRejectedTokensRotateEverMoreSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		// An upstream that rejects everything, asked ten times a second for an hour.
		for range 36000 {
			rejected := f.cached()
			fresh, err := f.refresh(rejected)
			if err == nil {
				for range 10 { // as many requests were waiting
					f.Rejected(f.provider, tenant, fresh)
				}
			} else {
				wantError(t, fresh, err, ErrFailed)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.asked.Load(); n < 10 || n > 25 {
			t.Errorf("%d rotations in an hour", n)
		}
		// Once one is accepted, the next refresh is free again.
		f.Accepted(f.provider, tenant, f.cached())
		before := f.asked.Load()
		fresh, err := f.refresh(f.cached())
		if err != nil || f.asked.Load() != before+1 {
			t.Errorf("after Accepted: %v, %v", fresh, err)
		}
		// And so is the one after the next rejection, soon.
		f.Rejected(f.provider, tenant, fresh)
		time.Sleep(2 * minRest)
		fresh, err = f.refresh(fresh)
		if err != nil || f.asked.Load() != before+2 {
			t.Errorf("after a rejection: %v, %v", fresh, err)
		}
	})
}

func TestRejectionOfAnAdoptedTokenIsNotHeldAgainstIt(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		old := f.stored()
		f.put(`{"access_token":"canary-stale","refresh_token":"canary-r5"}`)
		adopted, err := f.refresh(old)
		wantToken(t, adopted, err, "canary-stale")
		f.Rejected(f.provider, tenant, adopted)
		fresh, err := f.refresh(adopted)
		wantToken(t, fresh, err, "canary-a6")
	})
}

func TestSameAccessTokenAgainIsAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(200, `{"access_token":"canary-a1","expires_in":60}`))
		for range 100 {
			fresh, err := f.refresh(f.cached())
			wantError(t, fresh, err, ErrFailed)
		}
		f.wantAsked(1)
		f.wait()
		if f.stored().Get("expires_at").Str == "" {
			t.Error("the answer was not stored")
		}
	})
}

func TestWaitAndClose(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		if err := f.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.answers(func(form url.Values) (int, string) { time.Sleep(3 * time.Second); return rotate(form) })
		rejected := f.stored()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := f.Refresh(ctx, f.provider, tenant, rejected)
		wantError(t, nil, err, ErrFailed)

		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := f.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returned %v under way", err)
		}
		f.Close()
		f.Close()
		start := time.Now()
		if err := f.Wait(context.Background()); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("Wait returned %v after %v", err, time.Since(start))
		}
		wantToken(t, f.stored(), nil, "canary-a2") // Close does not harm what was under way
		_, err = f.refresh(f.stored())
		wantError(t, nil, err, ErrFailed)
		f.Ahead(f.provider, tenant, parse(t, credential.Document{Data: []byte(`{"access_token":"x","expires_at":"2000-01-01T00:00:00Z"}`)}))
		f.wantAsked(1)
	})
}

func TestProviderWithoutALogger(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.provider.Logger = nil
		fresh, err := f.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
	})
	if (&Provider{Logger: slog.Default()}).logger() != slog.Default() {
		t.Error("the logger is not used")
	}
}

func TestIdleStatesAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.Coordinator
		c.mu.Lock()
		defer c.mu.Unlock()
		name := func(i int) credential.Key {
			return credential.Key{Provider: "p", Tenant: credential.Tenant(rune(i))}
		}
		for i := range minSweep {
			c.state(name(i), time.Now())
		}
		time.Sleep(forgetAfter + time.Second)
		c.state(name(0), time.Now())
		c.state(name(minSweep), time.Now())
		if len(c.states) != 2 {
			t.Errorf("%d states", len(c.states))
		}
	})
}
