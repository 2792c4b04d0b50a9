package renew_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestRefreshRotatesAndCommits(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		var form url.Values
		f.answers(func(got url.Values) *tokenrequest.Response { form = got; return rotate(got) })
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		p.settled()
		f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		f.wantRecord(readyFor("canary-r2"))
		wantToken(t, p.cached(), nil, "canary-a2")
		if fresh.Version() != 3 || p.cached().Version() != 3 { // 2 is the claim
			t.Errorf("versions %d and %d, want 3", fresh.Version(), p.cached().Version())
		}
		if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "canary-r1" {
			t.Errorf("form %v", form)
		}
		p.wantEvents(renew.Claimed, 1)
		p.wantEvents(renew.Refreshed, 1)
		p.wantEvents(renew.SentAgain, 0)
		p.kill()
		f.wantLeft(0)
	})
}

func TestAThousandCallsSpendOneToken(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(slowly(time.Second))
		rejected := f.stored()
		var all sync.WaitGroup
		for range 3 {
			p := f.start(nil)
			for range 333 {
				all.Go(func() {
					fresh, err := p.refresh(rejected)
					wantToken(t, fresh, err, "canary-a2")
				})
			}
		}
		all.Wait()
		f.wantAsked(1)
	})
}

func TestRefreshAdoptsWhatTheStoreHas(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected := p.cached()
		f.put(`{"access_token":"canary-other","refresh_token":"canary-r9"}`)
		for range 100 {
			fresh, err := p.refresh(rejected)
			wantToken(t, fresh, err, "canary-other")
		}
		f.wantAsked(0)
		wantToken(t, p.cached(), nil, "canary-other")
	})
}

// A flight for the old token only adopts; who was rejected with what it adopts joins it
// and still needs a new one.
func TestCallThatJoinsLateIsNotGivenItsOwnTokenBack(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		old := f.stored()
		second := f.put(`{"access_token":"canary-a2","refresh_token":"canary-r2"}`)
		p.link.gets(func() error { time.Sleep(time.Second); return nil })
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := p.refresh(old)
			wantToken(t, fresh, err, "canary-a2")
		})
		time.Sleep(100 * time.Millisecond)
		fresh, err := p.refresh(second)
		wantToken(t, fresh, err, "canary-a3")
		all.Wait()
		f.wantAsked(1)
	})
}

func TestRefreshGoesOnWithoutItsClient(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(slowly(time.Second))
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(10*time.Millisecond, cancel)
		fresh, err := p.Refresh(ctx, f.provider, tenant, f.stored())
		wantError(t, fresh, err, renew.ErrFailed)
		wantError(t, fresh, err, context.Canceled)
		p.settled()
		f.wantAsked(1)
		wantToken(t, f.stored(), nil, "canary-a2")
	})
}

func TestStoreThatHangsIsGivenUp(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected, released := f.stored(), make(chan struct{})
		f.store.Fault = func(string, credential.Key) error { <-released; return nil }
		start := time.Now()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		wantTook(t, start, 5*time.Second)
		close(released)
	})
}

func TestDeletedCredentialIsForgotten(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected := p.cached()
		f.delete()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		wantError(t, fresh, err, credential.ErrNotFound)
		if _, err := p.cache.Get(t.Context(), key); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("the cache still has it: %v", err)
		}
		f.wantAsked(0)
		p.wantEvents(renew.Deleted, 1)
	})
}

func TestCredentialThatIsNotRefreshedIsReadAgain(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.provider = renew.NewProvider(key.Provider, nil, "")
		rejected := f.put(`{"api_key":"canary-k1"}`)
		before := f.store.Gets()
		for range 1000 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrUnchanged)
			wantError(t, fresh, err, renew.ErrFailed)
		}
		if reads := f.store.Gets() - before; reads != 1 {
			t.Errorf("%d reads of what is known", reads)
		}
		other := f.put(`{"api_key":"canary-k1","comment":"not for this scheme"}`)
		fresh, err := p.refresh(other)
		wantError(t, fresh, err, renew.ErrUnchanged)
		f.put(`{"api_key":"canary-k2"}`)
		fresh, err = p.RefreshNow(t.Context(), f.provider, tenant)
		wantError(t, fresh, err, renew.ErrUnchanged)
		if fresh, err = p.refresh(rejected); err != nil || fresh.Get("api_key").Str != "canary-k2" {
			t.Errorf("got %v, %v", fresh, err)
		}
		p.Ahead(f.provider, tenant, fresh)
		p.Rejected(f.provider, tenant, fresh)
		p.Accepted(f.provider, tenant, fresh)
		f.wantAsked(0)
	})
}

// An upstream that rejects everything, asked ten times a second for an hour.
func TestRejectedTokensRotateEverMoreSlowly(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		for range 36000 {
			if fresh, err := p.refresh(p.cached()); err == nil {
				for range 10 { // as many requests were waiting
					p.Rejected(f.provider, tenant, fresh)
				}
			} else {
				wantError(t, fresh, err, renew.ErrFailed)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.asked.Load(); n < 10 || n > 25 {
			t.Errorf("%d rotations in an hour", n)
		}
		// Once one is accepted, the next refresh is free again.
		p.Accepted(f.provider, tenant, p.cached())
		before := f.asked.Load()
		fresh, err := p.refresh(p.cached())
		if err != nil || f.asked.Load() != before+1 {
			t.Errorf("after Accepted: %v, %v", fresh, err)
		}
		// And so is the one after the next rejection, soon.
		p.Rejected(f.provider, tenant, fresh)
		time.Sleep(2 * time.Second)
		fresh, err = p.refresh(fresh)
		if err != nil || f.asked.Load() != before+2 {
			t.Errorf("after a rejection: %v, %v", fresh, err)
		}
	})
}

func TestRejectionOfAnAdoptedTokenIsNotHeldAgainstIt(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, old := f.start(nil), f.stored()
		f.put(`{"access_token":"canary-stale","refresh_token":"canary-r5"}`)
		adopted, err := p.refresh(old)
		wantToken(t, adopted, err, "canary-stale")
		p.Rejected(f.provider, tenant, adopted)
		fresh, err := p.refresh(adopted)
		wantToken(t, fresh, err, "canary-a6")
	})
}

func TestSameAccessTokenAgainIsAFailure(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(always(200, `{"access_token":"canary-a1","expires_in":60}`))
		for range 100 {
			fresh, err := p.refresh(p.cached())
			wantError(t, fresh, err, renew.ErrFailed)
		}
		f.wantAsked(1)
		if f.stored().Get("expires_at").Str == "" {
			t.Error("the answer was not stored")
		}
	})
}

func TestWaitAndClose(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		if err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.answers(slowly(3 * time.Second))
		rejected := f.stored()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go p.refresh(rejected)
		time.Sleep(time.Millisecond)
		if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returned %v under way", err)
		}
		start := time.Now()
		p.settled()
		wantTook(t, start, 2*time.Second)
		wantToken(t, f.stored(), nil, "canary-a2")
		p.Close()
		p.Close()
		p.Start()
		fresh, err := p.refresh(f.stored())
		wantError(t, fresh, err, renew.ErrFailed)
		p.Ahead(f.provider, tenant, parse(t, credential.Document{Data: []byte(`{"access_token":"x","expires_at":"1999-01-01T00:00:00Z"}`)}))
		f.wantAsked(1)
	})
}

// Close ends the listening, and leaves the claim to who adopts the journal.
func TestCloseEndsWhatIsListenedFor(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(slowly(time.Minute))
		outcome := make(chan error, 1)
		rejected := f.stored()
		go func() { _, err := p.refresh(rejected); outcome <- err }()
		time.Sleep(time.Second)
		start := time.Now()
		p.Close()
		p.settled()
		wantTook(t, start, 0)
		wantError(t, nil, <-outcome, renew.ErrFailed)
		f.wantLeft(1)
	})
}

func TestRefreshNowGoesPastACooldownAndNotPastARefusal(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(always(400, `{"error":"invalid_client"}`))
		for range 2 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
		}
		f.wantAsked(1)
		p.settled()
		f.answers(always(400, `{"error":"invalid_grant"}`))
		for range 10 {
			fresh, err := p.RefreshNow(t.Context(), f.provider, tenant)
			wantError(t, fresh, err, renew.ErrReauthorizationRequired)
			f.answers(rotate)
		}
		f.wantAsked(2)
	})
}

func TestRefreshNowRefreshesAndRespectsClaims(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		fresh, err := p.RefreshNow(t.Context(), f.provider, tenant)
		wantToken(t, fresh, err, "canary-a2")
		f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1"}`)
		f.putRecord(claimOf("theirs"))
		none, err := p.RefreshNow(t.Context(), f.provider, tenant)
		wantError(t, none, err, renew.ErrFailed)
		f.wantAsked(1)
		_, err = p.RefreshNow(t.Context(), f.provider, "nobody")
		wantError(t, nil, err, credential.ErrNotFound)
	})
}

// panicking panics when it is dialled for the first times.
type panicking struct {
	way
	left *int
}

func (d panicking) Dial(ctx context.Context, endpoint string, config *tls.Config) (tokenrequest.Conn, error) {
	if *d.left > 0 {
		*d.left--
		panic("a defect, with canary-r1 in it")
	}
	return d.way.Dial(ctx, endpoint, config)
}

// Nobody waits for one that tried an endpoint and was ended by a defect.
func TestDefectEndsAProbe(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		left := 0
		p := f.start(func(o *renew.Options) { o.Endpoints = panicking{o.Endpoints.(way), &left} })
		f.answers(always(500, ""))
		ask := func(tenant credential.Tenant) (time.Duration, error) {
			begun := time.Now()
			_, err := p.Refresh(t.Context(), f.provider, tenant, f.stored())
			return time.Since(begun), err
		}
		document := f.stored().Stored()
		for _, tenant := range []credential.Tenant{"down-1", "down-2", "down-3", "ended", "next"} {
			if _, err := f.store.Put(t.Context(), credential.Key{Provider: key.Provider, Tenant: tenant}, document, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, tenant := range []credential.Tenant{"down-1", "down-2", "down-3"} { // the breaker opens
			if _, err := ask(tenant); err == nil {
				t.Error("a 500 is no failure")
			}
		}
		left = 1
		f.answers(rotate)
		if _, err := ask("ended"); err == nil {
			t.Error("it was not ended")
		}
		if took, err := ask("next"); err != nil || took > time.Second {
			t.Errorf("the next one took %v: %v", took, err)
		}
	})
}

func TestDefectEndsTheRefreshAndNothingElse(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		left := 1
		p := f.start(func(o *renew.Options) { o.Endpoints = panicking{o.Endpoints.(way), &left} })
		rejected := f.stored()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		p.wantEvents(renew.Panicked, 1)
		if !strings.Contains(err.Error(), "defect") {
			t.Errorf("%v does not tell why", err)
		}
		p.settled()
		time.Sleep(2 * time.Second) // it cools down
		fresh, err = p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}
