package renew_test

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const loginDocument = `{"user":"canary-ann","password":"canary-p1"}`

// logsIn makes the provider one whose credentials a login renews, and the document one of a
// user with a password.
func (f *fleet) logsIn(change func(*login.Config)) {
	f.t.Helper()
	c := login.Config{Requests: []login.Request{{
		URL: "https://as.example/login", Form: map[string]string{"user": "{credential.user}", "password": "{credential.password}"},
	}}}
	if change != nil {
		change(&c)
	}
	r, err := login.New(c, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.provider = renew.NewProvider(key.Provider, r, "1")
	f.present.Store(f.provider)
	f.put(loginDocument)
}

// rotating has the login bring a refresh token that is spent when it is used.
func rotating(c *login.Config) {
	c.Refresh = &login.Request{URL: "https://as.example/refresh", Form: map[string]string{"refresh_token": "{credential.refresh_token}"}}
	c.TokenFields = []login.TokenField{{Field: "access_token", Path: "access_token"}, {Field: "refresh_token", Path: "refresh_token"}}
}

// logins answers each login with another token, and takes each refresh token once.
func logins() (answer answerer, count func() (logins, refreshes int)) {
	var mu sync.Mutex
	issued, loggedIn, refreshed := 1, 0, 0
	valid := make(map[string]bool)
	answer = func(form url.Values) *tokenrequest.Response {
		mu.Lock()
		defer mu.Unlock()
		if used := form.Get("refresh_token"); used != "" {
			refreshed++
			if !valid[used] {
				return status(401, `{"message":"canary"}`)
			}
			delete(valid, used)
		} else {
			loggedIn++
			if form.Get("user") != "canary-ann" || form.Get("password") != "canary-p1" {
				return status(401, `{"message":"canary"}`)
			}
		}
		issued++
		valid[fmt.Sprint("canary-r", issued)] = true
		return status(200, fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d"}`, issued, issued))
	}
	return answer, func() (int, int) { mu.Lock(); defer mu.Unlock(); return loggedIn, refreshed }
}

func TestLoginsOfManyCallsAreFewAndNeedNoClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(nil)
		answer, count := logins()
		f.answers(func(form url.Values) *tokenrequest.Response { time.Sleep(time.Second); return answer(form) })
		rejected := f.stored()
		var all sync.WaitGroup
		var fleet []*process
		for range 3 {
			p := f.start(nil)
			fleet = append(fleet, p)
			for range 333 {
				all.Go(func() {
					if fresh, err := p.refresh(rejected); err != nil || fresh.Get("access_token").Str == "" {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		if loggedIn, _ := count(); loggedIn > 3 {
			t.Errorf("%d logins", loggedIn)
		}
		for _, p := range fleet {
			p.wantEvents(renew.Claimed, 0)
		}
	})
}

func TestRefreshOfALoginIsSpentOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(rotating)
		answer, count := logins()
		f.answers(func(form url.Values) *tokenrequest.Response { time.Sleep(time.Second); return answer(form) })
		first, err := f.start(nil).refresh(f.stored())
		wantToken(t, first, err, "canary-a2")
		var all sync.WaitGroup
		for range 3 {
			p := f.start(nil)
			for range 333 {
				all.Go(func() {
					fresh, err := p.refresh(first)
					wantToken(t, fresh, err, "canary-a3")
				})
			}
		}
		all.Wait()
		if loggedIn, refreshed := count(); loggedIn != 1 || refreshed != 1 {
			t.Errorf("%d logins and %d refreshes", loggedIn, refreshed)
		}
		f.wantDocument(`{"user":"canary-ann","password":"canary-p1","access_token":"canary-a3","refresh_token":"canary-r3"}`)
		f.wantRecord(readyFor("canary-r3"))
	})
}

// The user and the password are still there, so nobody has to be asked.
func TestRefusedRefreshIsFollowedByALogin(t *testing.T) {
	for name, rotation := range map[string]scheme.Rotation{"with a claim": scheme.RotationSingleUse, "without": scheme.RotationNone} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.logsIn(func(c *login.Config) { rotating(c); c.Rotation = rotation })
				answer, count := logins()
				f.answers(answer)
				p := f.start(nil)
				rejected := f.put(`{"user":"canary-ann","password":"canary-p1","access_token":"canary-a0","refresh_token":"canary-r0"}`)
				fresh, err := p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				p.settled()
				if loggedIn, refreshed := count(); loggedIn != 1 || refreshed != 1 {
					t.Errorf("%d logins and %d refreshes", loggedIn, refreshed)
				}
				f.wantDocument(`{"user":"canary-ann","password":"canary-p1","access_token":"canary-a2","refresh_token":"canary-r2"}`)
				f.wantRecord(readyFor("canary-r2"))
				p.wantEvents(renew.Refused, 0)
				p.wantEvents(renew.Failed, 1)
				p.wantEvents(renew.Refreshed, 1)
				p.kill()
				f.wantLeft(0)
			})
		})
	}
}

// A process that exits between the refusal and what it means leaves that to another.
func TestRefusedRefreshOfAnExitedProcessIsFollowedByALogin(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(rotating)
		answer, count := logins()
		p := f.start(nil)
		f.answers(func(form url.Values) *tokenrequest.Response {
			defer p.link.dead.Store(true) // the store is not reached any more
			return answer(form)
		})
		rejected := f.put(`{"user":"canary-ann","password":"canary-p1","access_token":"canary-a0","refresh_token":"canary-r0"}`)
		_, err := p.refresh(rejected)
		wantError(t, nil, err, renew.ErrFailed)
		p.kill()
		f.answers(answer)
		other := f.start(nil)
		other.Start()
		fresh, err := other.refreshUntil(rejected, time.Minute)
		wantToken(t, fresh, err, "canary-a2")
		if loggedIn, refreshed := count(); loggedIn != 1 || refreshed != 1 {
			t.Errorf("%d logins and %d refreshes", loggedIn, refreshed)
		}
	})
}

// A user who is refused again and again is locked out: whatever comes, a login that brought
// no token is not repeated before a quarter of an hour, unless somebody changes the
// credential. And an outage that looks like a refusal comes to an end.
func TestRefusedLoginIsNotRepeatedSoon(t *testing.T) {
	for name, answer := range map[string]answerer{
		"401":       always(401, `{"message":"canary"}`),
		"403":       always(403, ``),
		"no token":  always(200, `{"message":"canary"}`),
		"an error":  always(200, `{"error":"canary"}`),
		"temporary": always(422, ``),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.logsIn(nil)
				f.answers(answer)
				p, rejected := f.start(nil), f.stored()
				want := renew.ErrReauthorizationRequired
				if name == "no token" {
					want = renew.ErrFailed
				}
				for start := time.Now(); time.Since(start) < 14*time.Minute; time.Sleep(20 * time.Second) {
					fresh, err := p.refresh(rejected)
					wantError(t, fresh, err, want)
				}
				f.wantAsked(1)
				f.wantRecord(says{})
				// Nor after nobody came for long.
				time.Sleep(30 * time.Second)
				_, _ = p.refresh(rejected)
				f.wantAsked(1)

				good, _ := logins()
				f.answers(good)
				fresh, err := p.refreshUntil(rejected, 10*time.Minute)
				wantToken(t, fresh, err, "canary-a2")
				f.wantAsked(2)
			})
		})
	}
}

func TestRefusedLoginIsRepeatedWithAnotherPassword(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(nil)
		answer, _ := logins()
		f.answers(answer)
		p, rejected := f.start(nil), f.put(`{"user":"canary-ann","password":"canary-p0"}`)
		_, err := p.refresh(rejected)
		wantError(t, nil, err, renew.ErrReauthorizationRequired)
		fresh, err := p.refresh(f.put(loginDocument))
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(2)
	})
}

func TestBusyLoginServerIsLeftAloneForAsLongAsItSays(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(nil)
		f.answers(func(url.Values) *tokenrequest.Response {
			busy := status(429, ``)
			busy.Header.Set("Retry-After", "600")
			return busy
		})
		p, rejected := f.start(nil), f.stored()
		for range 59 {
			_, err := p.refresh(rejected)
			wantError(t, nil, err, renew.ErrFailed)
			time.Sleep(10 * time.Second)
		}
		f.wantAsked(1)
	})
}

// A token may be in a header field of the answer, which has to get through the journal.
func TestLoginTakesTokensFromHeaderAndCookie(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.logsIn(func(c *login.Config) {
			rotating(c)
			c.TokenFields = []login.TokenField{{Field: "access_token", Header: "X-Auth-Token"}, {Field: "refresh_token", Cookie: "REFRESH"}}
		})
		f.answers(func(form url.Values) *tokenrequest.Response {
			r := status(204, ``)
			r.Header = http.Header{"X-Auth-Token": {"canary-a2"}, "Set-Cookie": {"REFRESH=canary-r2; Path=/"}}
			return r
		})
		p := f.start(nil)
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		p.settled()
		f.wantDocument(`{"user":"canary-ann","password":"canary-p1","access_token":"canary-a2","refresh_token":"canary-r2"}`)
	})
}
