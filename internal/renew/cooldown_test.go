package renew_test

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestCooldownsGetLonger(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(always(400, `{"error":"invalid_client"}`))
		var at []time.Time
		for len(at) < 12 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			if n := f.asked.Load(); int(n) > len(at) {
				at = append(at, time.Now())
			}
			time.Sleep(100 * time.Millisecond)
		}
		want := time.Second
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < want || d > want+want/4+200*time.Millisecond {
				t.Errorf("cooldown %d was %v, want %v", i, d, want)
			}
			want = min(2*want, 5*time.Minute)
		}
		f.answers(rotate)
		time.Sleep(10 * time.Minute)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")

		// A success starts it anew.
		f.answers(always(400, `{"error":"invalid_client"}`))
		_, err = p.refresh(fresh)
		wantError(t, nil, err, renew.ErrFailed)
		f.answers(rotate)
		time.Sleep(2 * time.Second)
		fresh, err = p.refresh(fresh)
		wantToken(t, fresh, err, "canary-a3")
	})
}

// A failure costs no read of the store as long as the caller has the same document: that
// it changed, the cache finds out.
func TestCooldownCostsNoRead(t *testing.T) {
	for name, answer := range map[string]answerer{
		"dead": always(400, `{"error":"invalid_grant"}`), "for now": always(401, `{"error":"invalid_client"}`),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				for range 8 { // to make it a long one
					f.answers(answer)
					p.refresh(rejected)
					time.Sleep(5 * time.Minute)
				}
				p.refresh(rejected)
				p.settled()
				asked, reads := f.asked.Load(), f.store.Gets()
				for range 60 {
					for range 10 {
						fresh, err := p.refresh(rejected)
						if fresh != nil || err == nil {
							t.Fatalf("got %v, %v", fresh, err)
						}
					}
					time.Sleep(time.Second)
				}
				if n := f.store.Gets() - reads; n > 1 { // for an answer that was kept as long as others may not take over
					t.Errorf("%d reads", n)
				}
				f.wantAsked(asked)

				// Another document ends it, with the same refresh token too if that is not dead.
				f.answers(rotate)
				n := 1
				if name == "dead" {
					n = 5
				}
				rejected = f.put(fmt.Sprintf(`{"access_token":"canary-a1","refresh_token":"canary-r%d","note":"changed"}`, n))
				fresh, err := p.refresh(rejected)
				wantToken(t, fresh, err, fmt.Sprintf("canary-a%d", n+1))
			})
		})
	}
}

func TestWhoWasRejectedWithAnotherTokenIsNotHeldBack(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, old := f.start(nil), f.stored()
		newer := f.put(`{"access_token":"canary-a5","refresh_token":"dead"}`)
		_, err := p.refresh(newer)
		wantError(t, nil, err, renew.ErrReauthorizationRequired)
		fresh, err := p.refresh(old)
		wantToken(t, fresh, err, "canary-a5")
		newest := f.put(`{"access_token":"canary-a7","refresh_token":"canary-r7"}`)
		fresh, err = p.refresh(newest)
		wantToken(t, fresh, err, "canary-a8")
		fresh, err = p.refresh(newer)
		wantToken(t, fresh, err, "canary-a8")
	})
}

func TestCooldownBelongsToItsConfiguration(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(always(400, `{"error":"invalid_client"}`))
		_, err := p.refresh(rejected)
		wantError(t, nil, err, renew.ErrFailed)
		f.answers(rotate)
		f.configure(nil)
		f.reconfigured()
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestWhoJoinsAFlightOfAnotherConfigurationDoesNotFailWithIt(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(func(url.Values) *tokenrequest.Response {
			f.answers(rotate)
			time.Sleep(time.Second)
			return status(400, `{"error":"invalid_client"}`)
		})
		before := f.provider
		f.configure(nil)
		f.reconfigured()
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := p.Refresh(t.Context(), before, tenant, rejected)
			wantError(t, fresh, err, renew.ErrFailed)
		})
		time.Sleep(time.Millisecond)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		all.Wait()
		f.wantAsked(2)
	})
}

func TestWhoJoinsAFlightForAnOlderTokenDoesNotFailWithIt(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(func(url.Values) *tokenrequest.Response {
			f.answers(rotate)
			time.Sleep(time.Second)
			return status(400, `{"error":"invalid_client"}`)
		})
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
		})
		time.Sleep(time.Millisecond)
		fresh, err := p.refresh(f.put(`{"access_token":"canary-a7","refresh_token":"canary-r7"}`))
		wantToken(t, fresh, err, "canary-a8")
		all.Wait()
		f.wantAsked(2)
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		value  string
		want   time.Duration
	}{
		"429 seconds":      {429, "90", 90 * time.Second},
		"503 date":         {503, "Sat, 01 Jan 2000 00:10:00 GMT", 10 * time.Minute}, // it is midnight in a bubble
		"absurd":           {429, "99999999", time.Hour},
		"not understood":   {429, "soon", time.Second},
		"400 is no reason": {400, "90", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				f.answers(func(url.Values) *tokenrequest.Response {
					return &tokenrequest.Response{Status: test.status, Header: http.Header{"Retry-After": {test.value}}}
				})
				start := time.Now()
				for f.asked.Load() < 2 {
					_, err := p.refresh(rejected)
					wantError(t, nil, err, renew.ErrFailed)
					time.Sleep(100 * time.Millisecond)
				}
				if d := time.Since(start); d < test.want || d > test.want+2*time.Second {
					t.Errorf("it took %v, want %v", d, test.want)
				}
			})
		})
	}
}

func TestDisabledDocumentIsNotClaimed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected := f.putRecord(says{"disabled": "true"})
		for range 100 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			time.Sleep(time.Second)
		}
		p.wantEvents(renew.Disabled, 1)
		if n := f.dialled.Load(); n != 0 || f.stored().Version() != rejected.Version() || len(f.journals.IDs()) != 0 {
			t.Errorf("%d connections, version %d, %d journals", n, f.stored().Version(), len(f.journals.IDs()))
		}
		fresh, err := p.refresh(f.putRecord(says{"disabled": "false"}))
		wantToken(t, fresh, err, "canary-a2")
	})
}

// What is disabled while its token is on the way gets the new tokens, and stays disabled.
func TestDocumentDisabledDuringASpendStaysDisabled(t *testing.T) {
	for name, answer := range map[string]answerer{
		"rotated": rotate, "refused": always(400, `{"error":"invalid_grant"}`), "not looked at": always(503, ""), "no answer": always(500, ""),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p := f.start(nil)
				p.Start()
				f.answers(func(form url.Values) *tokenrequest.Response {
					r := f.record()
					r["disabled"] = "true"
					f.putRecord(r)
					return answer(form)
				})
				fresh, err := p.refresh(f.stored())
				if (err == nil) != (name == "rotated") {
					t.Fatalf("got %v, %v", fresh, err)
				}
				time.Sleep(time.Hour)
				if held := f.record(); held["disabled"] != "true" || (held["status"] == "spending") != (name == "no answer") {
					t.Errorf("the record is %v", held)
				}
				none, err := p.refresh(f.stored())
				if none != nil || err == nil {
					t.Errorf("got %v, %v", none, err)
				}
				f.wantAsked(1)
			})
		})
	}
}
