package renew_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestWhatLeavesTheTokenAsItIsReleasesTheClaim(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   string // how the error ends
	}{
		{503, ``, "token endpoint answered 503, no token response"},
		{503, `{"error":"invalid_grant"}`, "token endpoint answered 503, invalid_grant"},
		{429, ``, "token endpoint answered 429, no token response"},
		{401, `{"error":"invalid_client","error_description":"of canary-r1"}`, "token endpoint answered 401, invalid_client"},
		{200, `{"error":"invalid_client"}`, "token endpoint answered 200, invalid_client"},
		{400, `{"error":"canary-r1"}`, "token endpoint answered 400, unknown_error"},
		{302, ``, "token endpoint answered 302, no token response"},
		{404, `<html>canary-r1`, "token endpoint answered 404, no token response"},
	} {
		t.Run(fmt.Sprint(test.status, test.body), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				one, another := f.start(nil), f.start(nil)
				rejected := f.stored()
				f.answers(always(test.status, test.body))
				fresh, err := one.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				if errors.Is(err, renew.ErrReauthorizationRequired) || !strings.HasSuffix(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				one.settled()
				f.wantRecord(readyFor("canary-r1"))
				f.wantDocument(string(rejected.JSON()))
				if last, ok := one.LastOutcome(key); !ok || last.Kind != renew.Failed || last.Status != test.status || last.Count != 1 || last.Cooldown <= 0 {
					t.Errorf("the last outcome is %+v", last)
				}
				// Nobody else has to wait for that.
				f.answers(rotate)
				fresh, err = another.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				another.wantEvents(renew.SentAgain, 0)
				f.wantAsked(2)
				one.kill()
				f.wantLeft(0)
			})
		})
	}
}

// silences tell nothing of the token.
var silences = map[string]struct {
	status int
	body   string
}{
	"no answer":             {0, ``},
	"500":                   {500, ``},
	"500, with a code":      {500, `{"error":"invalid_grant"}`},
	"502":                   {502, `<html>`},
	"520":                   {520, ``},
	"200 without an object": {200, `<html>`},
	"200 with nothing":      {200, ``},
	"204":                   {204, ``},
}

func TestSilenceLeavesTheClaimAndItsOwnerClaimsOverIt(t *testing.T) {
	for name, test := range silences {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				owner, other := f.start(nil), f.start(nil)
				rejected := f.stored()
				f.answers(always(test.status, test.body))
				fresh, err := owner.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				owner.settled()
				claim := f.record()
				if claim["status"] != "spending" || claim["fingerprint"] != fingerprint("canary-r1") {
					t.Errorf("the record is %v", claim)
				}
				start := time.Now()
				fresh, err = owner.refresh(rejected) // cools down
				wantError(t, fresh, err, renew.ErrFailed)
				wantTook(t, start, 0)
				f.answers(func(form url.Values) *tokenrequest.Response {
					if cooled := time.Since(start); cooled < time.Second || cooled > 3*time.Second {
						t.Errorf("sent again after %v", cooled)
					}
					if now := f.record(); now["nonce"] == claim["nonce"] || now["status"] != "spending" || now["over"] != "" || now["since"] != claim["since"] {
						t.Errorf("the claim over %v is %v", claim, now)
					}
					return rotate(form)
				})
				go other.refresh(rejected)
				time.Sleep(500 * time.Millisecond)
				f.wantAsked(1)
				time.Sleep(time.Second)
				fresh, err = owner.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				other.settled()
				f.wantAsked(2)
				owner.wantEvents(renew.SentAgain, 1)
				other.wantEvents(renew.SentAgain, 0)
				f.wantRecord(readyFor("canary-r2"))
				owner.kill()
				f.wantLeft(0)
			})
		})
	}
}

func TestWithTakeoverNeverSilenceWaitsForAPerson(t *testing.T) {
	for name, test := range silences {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(takeover(never))
				p, rejected := f.start(nil), f.stored()
				p.Start()
				f.answers(always(test.status, test.body))
				fresh, err := p.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				f.answers(rotate)
				time.Sleep(10 * time.Second)
				for range 24 * 6 {
					fresh, err := p.refresh(rejected)
					wantError(t, fresh, err, renew.ErrReauthorizationRequired)
					time.Sleep(10 * time.Minute)
				}
				fresh, err = p.RefreshNow(t.Context(), f.provider, tenant)
				wantError(t, fresh, err, renew.ErrReauthorizationRequired)
				f.wantAsked(1)
				p.wantEvents(renew.SentAgain, 0)

				// Somebody authorizes anew.
				fresh, err = p.refresh(f.put(`{"access_token":"canary-a1","refresh_token":"canary-r7"}`))
				wantToken(t, fresh, err, "canary-a8")
			})
		})
	}
}

// What comes after a silence does not hide that the token may have been sent.
func TestSendingWithoutAnAnswerIsRemembered(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one, rejected := f.start(nil), f.stored()
		for _, code := range []int{500, 503} {
			f.answers(always(code, ""))
			_, err := one.refresh(rejected)
			wantError(t, nil, err, renew.ErrFailed)
			time.Sleep(2 * time.Second)
		}
		f.wantRecord(readyFor("canary-r1"))
		f.answers(rotate)
		other := f.start(nil)
		fresh, err := other.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		one.wantEvents(renew.SentAgain, 1)
		other.wantEvents(renew.SentAgain, 1)
	})
}

func TestOwnerOfASilentClaimNeedsNoRequestToGoOn(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		owner := f.start(nil)
		owner.Start()
		f.answers(always(500, ""))
		fresh, err := owner.refresh(f.stored())
		wantError(t, fresh, err, renew.ErrFailed)
		time.Sleep(10 * time.Minute)
		if n := f.asked.Load(); n < 6 || n > 11 {
			t.Errorf("%d token requests in 10 min", n)
		}
		f.answers(rotate)
		time.Sleep(7 * time.Minute)
		wantToken(t, f.stored(), nil, "canary-a2")
		f.wantRecord(readyFor("canary-r2"))
	})
}

func TestDeadRefreshTokenIsAskedForOnce(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
	}{
		{400, `{"error":"invalid_grant","error_description":"canary-r1 is expired"}`},
		{400, `{"error":"unauthorized_client"}`},
		{401, `{"error":"invalid_grant"}`},
		{200, `{"error":"invalid_grant"}`},
		{200, `{"error":"bad_refresh_token"}`},
		{200, `{"error":"invalid_grant","refresh_token":"canary-r1"}`},
	} {
		t.Run(fmt.Sprint(test.status, test.body), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				one, rejected := f.start(nil), f.stored()
				f.answers(always(test.status, test.body))
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() {
						for range 100 { // 10,000 calls in 100 minutes
							fresh, err := one.refresh(rejected)
							wantError(t, fresh, err, renew.ErrReauthorizationRequired)
							if errors.Is(err, renew.ErrFailed) {
								t.Errorf("%v is both for now and for good", err)
							}
							time.Sleep(time.Minute)
						}
					})
				}
				all.Wait()
				f.wantAsked(1)
				one.wantEvents(renew.Refused, 1)
				f.wantRecord(refusedFor("canary-r1"))
				one.kill()
				f.wantLeft(0)

				// A restart changes nothing, nor does the same document anew.
				f.answers(rotate)
				after := f.start(nil)
				for range 2 {
					for range 10 {
						fresh, err := after.refresh(rejected)
						wantError(t, fresh, err, renew.ErrReauthorizationRequired)
						time.Sleep(time.Hour)
					}
					rejected = f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"anew"}`)
				}
				fresh, err := after.RefreshNow(t.Context(), f.provider, tenant)
				wantError(t, fresh, err, renew.ErrReauthorizationRequired)
				f.wantAsked(1)

				// Somebody authorizes anew.
				rejected = f.put(`{"access_token":"canary-a1","refresh_token":"canary-r7"}`)
				fresh, err = after.refresh(rejected)
				wantToken(t, fresh, err, "canary-a8")
			})
		})
	}
}

func TestPersonTakesARefusalBack(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		f.answers(always(400, `{"error":"invalid_grant"}`))
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrReauthorizationRequired)
		f.answers(rotate)
		f.putRecord(readyFor("canary-r1"))
		fresh, err = p.RefreshNow(t.Context(), f.provider, tenant)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestRefusalOfWhatSomebodyElseHasMovedOnFromIsNotWritten(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(func(url.Values) *tokenrequest.Response {
			f.put(`{"access_token":"canary-their-a","refresh_token":"canary-their-r"}`)
			return status(400, `{"error":"invalid_grant"}`)
		})
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-their-a")
		f.wantRecord(says{})
		f.wantAsked(1)
	})
}

func TestMissingRefreshTokenNeedsReauthorization(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.put(`{"access_token":"canary-a1"}`)
		for range 100 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrReauthorizationRequired)
		}
		f.wantAsked(0)
		p.wantEvents(renew.Refused, 1)
	})
}

func TestRefreshTokenBesideAnUnusableAccessTokenIsKept(t *testing.T) {
	for name, answer := range map[string]string{
		"no access token":    `{"refresh_token":"canary-r2"}`,
		"control characters": `{"refresh_token":"canary-r2","access_token":"a\nb"}`,
		"cut off":            `{"refresh_token":"canary-r2","access_tok`,
		"an error beside it": `{"refresh_token":"canary-r2","error":"invalid_grant"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				f.answers(always(200, answer))
				fresh, err := p.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				if errors.Is(err, renew.ErrReauthorizationRequired) {
					t.Errorf("%v is for good", err)
				}
				p.settled()
				f.wantDocument(`{"access_token":"canary-a1","refresh_token":"canary-r2","note":"kept"}`)
				p.wantEvents(renew.Unusable, 1)
				f.answers(rotate)
				time.Sleep(2 * time.Second)
				fresh, err = p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a3")
			})
		})
	}
}

// The rotation may have been in what is cut off, and the grace runs since then.
func TestAnswerThatIsCutOffDoesNotBeginTheGraceAnew(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		p := f.start(nil)
		first := stamp(time.Now())
		f.answers(always(200, `{"access_token":"canary-a2","refresh_tok`))
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		time.Sleep(time.Minute / 2)
		f.answers(func(form url.Values) *tokenrequest.Response {
			if held := f.record(); held["since"] != first || held["at"] == first {
				t.Errorf("the claim is %v, the token's first was at %v", held, first)
			}
			return always(200, `{"access_token":"canary-a3","refresh_token":"canary-r3"}`)(form)
		})
		fresh, err = p.refresh(fresh)
		wantToken(t, fresh, err, "canary-a3")
		p.wantEvents(renew.SentAgain, 1)
	})
}

// The rotation may have been in what is cut off.
func TestWithTakeoverNeverAnAnswerThatIsCutOffIsNotGuessed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		p := f.start(nil)
		f.answers(always(200, `{"access_token":"canary-a2","refresh_tok`))
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		f.wantRecord(refusedFor("canary-r1"))
		none, err := p.refresh(fresh)
		wantError(t, none, err, renew.ErrReauthorizationRequired)
		f.wantAsked(1)
	})
}
