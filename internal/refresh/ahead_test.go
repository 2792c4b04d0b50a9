package refresh

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// expiring is a document whose access token expires in d.
func expiring(n int, d time.Duration) string {
	return fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d","expires_at":%q}`, n, n, time.Now().Add(d).Format(time.RFC3339))
}

func TestAheadRefreshesWhatExpiresSoon(t *testing.T) {
	never := func(o *scheme.OAuth2) { o.RefreshAhead = -1 }
	longer := func(o *scheme.OAuth2) { o.RefreshAhead = 10 * time.Minute }
	for name, test := range map[string]struct {
		document string // %s: the time of expiry
		in       time.Duration
		change   func(*scheme.OAuth2)
		asked    int64
	}{
		"far off":             {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"%s"}`, 76 * time.Second, nil, 0},
		"soon":                {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"%s"}`, 59 * time.Second, nil, 1},
		"expired":             {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"%s"}`, -time.Hour, nil, 1},
		"soon by its setting": {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"%s"}`, 9 * time.Minute, longer, 1},
		"switched off":        {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"%s"}`, -time.Hour, never, 0},
		"no time":             {`{"access_token":"canary-a1","refresh_token":"canary-r1","x":"%s"}`, 0, nil, 0},
		"malformed time":      {`{"access_token":"canary-a1","refresh_token":"canary-r1","expires_at":"x%s"}`, 0, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.provider = f.newProvider(test.change)
				f.answers(func(form url.Values) (int, string) { time.Sleep(time.Second); return rotate(form) })
				cred := f.put(fmt.Sprintf(test.document, time.Now().Add(test.in).Format(time.RFC3339)))
				start := time.Now()
				for range 100 {
					f.Ahead(f.provider, tenant, cred)
				}
				if time.Since(start) != 0 {
					t.Error("Ahead blocks")
				}
				f.wait()
				f.wantAsked(test.asked)
			})
		})
	}
}

func TestTokensIssuedTogetherAreNotRefreshedTogether(t *testing.T) {
	o := &scheme.OAuth2{RefreshAhead: time.Minute}
	expiresAt := time.Now().Add(time.Hour)
	const tenants, parts = 10_000, 10
	var in [parts]int
	for i := range tenants {
		at := aheadAt(o, credential.Tenant(fmt.Sprint("tenant-", i)), expiresAt)
		early := expiresAt.Add(-o.RefreshAhead).Sub(at)
		if from, ok := AheadFrom(o, expiresAt); !ok || at.Before(from) || early < 0 {
			t.Fatalf("%v earlier than refresh_ahead", early)
		}
		in[early*parts*aheadSpread/o.RefreshAhead]++
	}
	for i, n := range in {
		if n < tenants/parts/2 || n > tenants/parts*2 {
			t.Errorf("%d of %d tenants are in part %d of %d", n, tenants, i, parts)
		}
	}
}

func TestAheadDoesNotChaseShortLivedTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		n := 1
		f.answers(func(url.Values) (int, string) {
			n++
			return 200, fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d","expires_in":30}`, n, n)
		})
		f.put(expiring(1, 30*time.Second))
		// Ten minutes of ten requests a second, with a lifetime of half RefreshAhead.
		for range 6000 {
			f.Ahead(f.provider, tenant, f.cached())
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		f.wait()
		if asked := f.asked.Load(); asked < 19 || asked > 42 {
			t.Errorf("%d refreshes of a token that lives 30 s in 10 min", asked)
		}
	})
}

func TestAheadRests(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(400, `{"error":"invalid_grant"}`))
		cred := f.put(expiring(1, time.Second))
		time.Sleep(time.Second)
		f.Ahead(f.provider, tenant, cred)
		f.wait()
		reads := f.store.Gets()
		for range 600 {
			f.Ahead(f.provider, tenant, cred)
			time.Sleep(time.Second)
		}
		f.wantAsked(1)
		if f.store.Gets() != reads {
			t.Error("the store is read during a rest")
		}
		// Another document is another matter.
		f.answers(rotate)
		cred = f.put(expiring(5, time.Second))
		time.Sleep(time.Second)
		f.Ahead(f.provider, tenant, cred)
		f.wait()
		wantToken(t, f.stored(), nil, "canary-a6")
	})
}

func TestRefreshJoinsTheOneAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(func(form url.Values) (int, string) { time.Sleep(time.Second); return rotate(form) })
		cred := f.put(expiring(1, 0))
		f.Ahead(f.provider, tenant, cred)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				fresh, err := f.refresh(cred)
				wantToken(t, fresh, err, "canary-a2")
			})
		}
		all.Wait()
		f.wantAsked(1)
	})
}

func TestAheadWithTheSameAccessTokenAgainIsNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(200, `{"access_token":"canary-a1","expires_in":3600}`))
		f.Ahead(f.provider, tenant, f.put(expiring(1, 0)))
		f.wait()
		for range 100 {
			f.Ahead(f.provider, tenant, f.cached())
		}
		f.wait()
		f.wantAsked(1)
		fresh, err := f.refresh(f.cached()) // no rest holds it back
		wantError(t, fresh, err, ErrFailed)
		f.wantAsked(2)
	})
}
