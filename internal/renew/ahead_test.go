package renew_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// expiring is a document whose access token expires in d.
func expiring(n int, d time.Duration) string {
	return fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d","expires_at":%q}`, n, n, time.Now().Add(d).Format(time.RFC3339))
}

func TestAheadRefreshesWhatExpiresSoon(t *testing.T) {
	ahead := func(d time.Duration) func(*oauth2.Config) {
		return func(o *oauth2.Config) { o.RefreshAhead = d }
	}
	for name, test := range map[string]struct {
		in     time.Duration
		change func(*oauth2.Config)
		asked  int64
	}{
		"far off":             {76 * time.Second, nil, 0},
		"soon":                {59 * time.Second, nil, 1},
		"expired":             {-time.Hour, nil, 1},
		"soon by its setting": {9 * time.Minute, ahead(10 * time.Minute), 1},
		"switched off":        {-time.Hour, ahead(-1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(test.change)
				p := f.start(nil)
				f.answers(slowly(time.Second))
				cred, start := f.put(expiring(1, test.in)), time.Now()
				for range 100 {
					p.Ahead(f.provider, tenant, cred)
				}
				wantTook(t, start, 0)
				p.settled()
				f.wantAsked(test.asked)
			})
		})
	}
	for _, document := range []string{`{"access_token":"canary-a1"}`, `{"access_token":"canary-a1","expires_at":"soon"}`} {
		inFleet(t, func(t *testing.T, f *fleet) {
			p := f.start(nil)
			p.Ahead(f.provider, tenant, f.put(document))
			f.wantAsked(0)
		})
	}
}

func TestTokensIssuedTogetherAreNotRefreshedTogether(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		cred := parse(t, credential.Document{Data: []byte(expiring(1, 75*time.Second)), Version: 1})
		if from, ok := f.provider.AheadFrom(time.Now().Add(75 * time.Second)); !ok || from != time.Now() {
			t.Errorf("from %v", from)
		}
		if _, ok := renew.NewProvider(key.Provider, nil, "").AheadFrom(time.Now()); ok {
			t.Error("without refreshes")
		}
		// The store has none of them: each tenant that is tried is told as deleted.
		const tenants = 1000
		for range 15 {
			before := p.count(renew.Deleted)
			for i := range tenants {
				p.Ahead(f.provider, credential.Tenant(fmt.Sprint("t", i)), cred)
			}
			synctest.Wait()
			if n := p.count(renew.Deleted) - before; n > 15*tenants/10 {
				t.Errorf("%d of %d at once", n, tenants)
			}
			time.Sleep(time.Second)
		}
		if n := len(p.LastOutcomes(key.Provider)); n < tenants*9/10 {
			t.Errorf("%d of %d are refreshed", n, tenants)
		}
	})
}

// Ten minutes of ten requests a second, with a lifetime of half refresh_ahead.
func TestAheadDoesNotChaseShortLivedTokens(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, n := f.start(nil), 1
		f.answers(func(url.Values) *tokenrequest.Response {
			n++
			return status(200, fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d","expires_in":30}`, n, n))
		})
		f.put(expiring(1, 30*time.Second))
		for range 6000 {
			p.Ahead(f.provider, tenant, p.cached())
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		if asked := f.asked.Load(); asked < 19 || asked > 42 {
			t.Errorf("%d refreshes of a token that lives 30 s in 10 min", asked)
		}
	})
}

func TestAheadCoolsDown(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(always(400, `{"error":"invalid_grant"}`))
		cred := f.put(expiring(1, 0))
		p.Ahead(f.provider, tenant, cred)
		p.settled()
		reads := f.store.Gets()
		for range 600 {
			p.Ahead(f.provider, tenant, cred)
			time.Sleep(time.Second)
		}
		f.wantAsked(1)
		if f.store.Gets() != reads {
			t.Error("the store is read meanwhile")
		}
		// Another document is another matter.
		f.answers(rotate)
		p.Ahead(f.provider, tenant, f.put(expiring(5, 0)))
		p.settled()
		wantToken(t, f.stored(), nil, "canary-a6")
	})
}

func TestRefreshJoinsTheOneAhead(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(slowly(time.Second))
		cred := f.put(expiring(1, 0))
		p.Ahead(f.provider, tenant, cred)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				fresh, err := p.refresh(cred)
				wantToken(t, fresh, err, "canary-a2")
			})
		}
		all.Wait()
		f.wantAsked(1)
	})
}

func TestAheadWithTheSameAccessTokenAgainIsNoFailure(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(always(200, `{"access_token":"canary-a1","expires_in":3600}`))
		p.Ahead(f.provider, tenant, f.put(expiring(1, 0)))
		p.settled()
		for range 100 {
			p.Ahead(f.provider, tenant, p.cached())
		}
		f.wantAsked(1)
		fresh, err := p.refresh(p.cached()) // nothing holds it back
		wantError(t, fresh, err, renew.ErrFailed)
		f.wantAsked(2)
	})
}
