package renew_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// A token endpoint that rotates and answers late: the answer is used whenever it comes,
// and the token is sent once.
func TestAnswerThatComesLateIsUsed(t *testing.T) {
	for _, test := range []struct {
		takeover, takes time.Duration
	}{
		{10 * time.Minute, 11 * time.Second},
		{10 * time.Minute, 14 * time.Second},
		{15 * time.Second, 11 * time.Second},
		// Between two looks at what is not settled:
		{10 * time.Minute, 30*time.Second + 300*time.Millisecond},
		{10 * time.Minute, 9*time.Minute + 300*time.Millisecond},
		{time.Minute, 47*time.Second + 300*time.Millisecond},
		{never, 9*time.Minute + 300*time.Millisecond},
	} {
		t.Run(test.takes.String()+" with "+test.takeover.String(), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(takeover(test.takeover))
				f.answers(slowly(test.takes))
				one, other := f.start(nil), f.start(nil)
				one.Start()
				other.Start()
				rejected := f.stored()
				start := time.Now()
				fresh, err := one.refresh(rejected)
				if test.takes < 15*time.Second {
					wantToken(t, fresh, err, "canary-a2")
				} else {
					// The request is let go, and others are at once.
					wantError(t, fresh, err, renew.ErrFailed)
					wantTook(t, start, 15*time.Second)
					start := time.Now()
					fresh, err = one.refresh(rejected)
					wantError(t, fresh, err, renew.ErrFailed)
					wantTook(t, start, 0)
				}
				for time.Since(start) < test.takes {
					other.refresh(rejected)
					time.Sleep(min(time.Second, test.takes-time.Since(start)))
				}
				time.Sleep(100 * time.Millisecond)
				f.wantRecord(readyFor("canary-r2"))
				for _, p := range []*process{one, other} {
					fresh, err = p.refreshUntil(rejected, 4*time.Second)
					wantToken(t, fresh, err, "canary-a2")
					p.wantEvents(renew.SentAgain, 0)
				}
				f.wantAsked(1)
				one.kill()
				f.wantLeft(0)
			})
		})
	}
}

// The same of a token that stays: one that is claimed by nobody, and one that was seen to
// survive its use, whose owner is given less time.
func TestAnswerThatComesLateIsUsedForATokenThatStays(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*oauth2.Config)
		takes   time.Duration
		adopted bool // it was refreshed before
	}{
		"rotation none":             {func(o *oauth2.Config) { o.Rotation = scheme.RotationNone }, 20 * time.Second, false},
		"it survived":               {nil, 20 * time.Second, true},
		"it survived, takeover 20s": {takeover(20 * time.Second), 15500 * time.Millisecond, true},
		"it survived, never":        {takeover(never), 20 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(test.change)
				one, other := f.start(nil), f.start(nil)
				one.Start()
				other.Start()
				rejected := f.stored()
				asked := int64(1)
				if test.adopted {
					f.answers(always(200, `{"access_token":"canary-b"}`))
					before, err := one.refresh(rejected)
					wantToken(t, before, err, "canary-b")
					rejected = before
					asked++
				}
				f.answers(func(url.Values) *tokenrequest.Response {
					time.Sleep(test.takes)
					return status(200, `{"access_token":"canary-a2"}`)
				})
				start := time.Now()
				fresh, err := one.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				wantTook(t, start, 15*time.Second)
				time.Sleep(test.takes - 15*time.Second + 100*time.Millisecond)
				f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r1","note":"kept"}`)
				for _, p := range []*process{one, other} {
					fresh, err = p.refreshUntil(rejected, 4*time.Second)
					wantToken(t, fresh, err, "canary-a2")
					p.wantEvents(renew.SentAgain, 0)
				}
				f.wantAsked(asked)
				one.kill()
				f.wantLeft(0)
			})
		})
	}
}

// A token that is claimed by nobody may be sent again at no cost: one request that hangs
// does not stop a tenant for long.
func TestTokenThatIsNotClaimedIsSentAgainSoon(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Minute, never} {
		t.Run(after.String(), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(func(o *oauth2.Config) { o.Takeover, o.Rotation = after, scheme.RotationNone })
				p := f.start(nil)
				p.Start()
				f.answers(func(url.Values) *tokenrequest.Response {
					f.answers(always(200, `{"access_token":"canary-a2"}`))
					time.Sleep(time.Hour)
					return nil
				})
				fresh, err := p.refreshUntil(f.stored(), 40*time.Second)
				wantToken(t, fresh, err, "canary-a2")
				f.wantAsked(2)
			})
		})
	}
}

// A process that has its store alone stops while it listens. The next one goes on at once.
func TestStopWhileAnAnswerIsListenedForIsTakenUpByTheNextProcess(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		alone := func(o *renew.Options) { o.Exclusive = true }
		one, rejected := f.start(alone), f.stored()
		one.Start()
		f.answers(slowly(time.Minute))
		fresh, err := one.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		one.Close()
		one.settled()
		f.answers(rotate)
		two := f.start(alone)
		two.Start()
		fresh, err = two.refreshUntil(rejected, 5*time.Second)
		wantToken(t, fresh, err, "canary-a2")
		two.wantEvents(renew.SentAgain, 1)
		two.wantEvents(renew.TakenOver, 0)
		f.wantAsked(2)
		time.Sleep(2 * time.Second) // it finds what was left
		two.kill()
		f.wantLeft(0)
	})
}

// What the endpoint says late of a token counts as if it had said it at once.
func TestRefusalThatComesLateIsWrittenDown(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.Start()
		f.answers(func(url.Values) *tokenrequest.Response {
			time.Sleep(time.Minute)
			return status(400, `{"error":"invalid_grant"}`)
		})
		rejected := f.stored()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		time.Sleep(time.Minute)
		f.wantRecord(refusedFor("canary-r1"))
		if last, ok := p.LastOutcome(key); !ok || last.Kind != renew.Refused || last.Code != "invalid_grant" {
			t.Errorf("the last outcome is %+v", last)
		}
		fresh, err = p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrReauthorizationRequired)
		f.wantAsked(1)
	})
}

// While an answer is listened for, an operator brings other tokens. They serve, and are
// refreshed in turn; the answer changes nothing.
func TestOtherTokensAreRefreshedWhileAnAnswerIsListenedFor(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.Start()
		f.answers(slowly(5 * time.Minute))
		rejected := f.stored()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		time.Sleep(1300 * time.Millisecond) // between two looks at what is not settled
		f.answers(rotate)
		f.put(`{"access_token":"canary-a5","refresh_token":"canary-r5"}`)
		fresh, err = p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a6")
		time.Sleep(10 * time.Minute)
		f.wantDocument(`{"access_token":"canary-a6","refresh_token":"canary-r6"}`)
		f.wantAsked(2)
		p.wantEvents(renew.SentAgain, 0)
		p.kill()
		f.wantLeft(0)
	})
}

// Somebody brings one dead token after the other: each has somebody listen, but for a few.
func TestListenersAreBounded(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(func(url.Values) *tokenrequest.Response { time.Sleep(5 * time.Minute); return nil })
		for _, n := range []string{"1", "2", "3", "4", "5", "6"} {
			rejected := f.put(`{"access_token":"canary-a` + n + `","refresh_token":"canary-r` + n + `"}`)
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			time.Sleep(time.Millisecond) // the flight ends now, too
		}
		f.wantAsked(4)
	})
}

func TestTokenIsNotSentTenSecondsAfterItsClaimBegan(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		// The claim took so long, as when a process is stopped.
		p.link.puts(first(1, func(put func() (uint64, error)) (uint64, error) {
			n, err := put()
			time.Sleep(10 * time.Second)
			return n, err
		}))
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		p.settled()
		f.wantAsked(0)
		f.wantRecord(readyFor("canary-r1"))
		time.Sleep(2 * time.Second)
		fresh, err = p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		p.wantEvents(renew.SentAgain, 0)
	})
}

// An owner stops listening before another process may take over, by a margin.
func TestListeningEndsBeforeTakeover(t *testing.T) {
	for takes, listens := range map[time.Duration]time.Duration{
		15 * time.Second: 12 * time.Second,
		30 * time.Second: 21 * time.Second,
		time.Minute:      48 * time.Second,
		10 * time.Minute: 9*time.Minute + 45*time.Second,
		never:            10 * time.Minute,
	} {
		t.Run(takes.String(), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(takeover(takes))
				p := f.start(nil)
				f.answers(func(url.Values) *tokenrequest.Response { time.Sleep(time.Hour); return nil })
				start := time.Now()
				fresh, err := p.refresh(f.stored())
				wantError(t, fresh, err, renew.ErrFailed)
				wantTook(t, start, min(listens, 15*time.Second))
				p.settled()
				wantTook(t, start, listens)
				if said := f.record()["listens"]; said != listens.String() {
					t.Errorf("the claim says %s", said)
				}
			})
		})
	}
}
