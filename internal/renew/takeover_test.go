package renew_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestForeignClaimIsWaitedForOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected := f.putRecord(claimOf("first"))
		takes := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			wantTook(t, start, want)
		}
		takes(15 * time.Second)
		p.settled()
		p.wantEvents(renew.Waiting, 1)
		if p.count(renew.WaitedInVain) == 0 {
			t.Error("it is not told")
		}
		reads := f.store.Gets()
		for range 600 { // a minute
			takes(0)
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.store.Gets() - reads; n > 120 {
			t.Errorf("%d reads in a minute", n)
		}
		// Another claim is another matter.
		rejected = f.putRecord(claimOf("second"))
		time.Sleep(5 * time.Second)
		takes(15 * time.Second)
		takes(0)
		f.wantAsked(0)
	})
}

func TestWhoComesLateWaitsForTheRestOnly(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		rejected := f.putRecord(claimOf("theirs"))
		go p.refresh(rejected)
		time.Sleep(10 * time.Second)
		start := time.Now()
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		wantTook(t, start, 5*time.Second)
	})
}

// How old a claim is, is what the store's clock says; its owner's chance, when this process
// has seen it for 14 s.
func TestSilentClaimIsTakenOverByTheStoresClock(t *testing.T) {
	fast := func(d time.Duration) func(*process) { return func(p *process) { p.link.skew = d } }
	for name, test := range map[string]struct {
		takeover time.Duration
		says     says // over the claim
		change   func(*process)
		after    time.Duration // since it was first seen
	}{
		"15 s":                            {15 * time.Second, nil, nil, 15 * time.Second},
		"a minute":                        {time.Minute, nil, nil, time.Minute},
		"10 minutes":                      {10 * time.Minute, nil, nil, 10 * time.Minute},
		"old already":                     {time.Minute, says{"at": "1999-01-01T00:00:00Z", "since": "1999-01-01T00:00:00Z"}, nil, 14 * time.Second},
		"half of it":                      {time.Minute, nil, fast(30 * time.Second), 30 * time.Second},
		"from the future":                 {time.Minute, nil, fast(-30 * time.Second), 90 * time.Second},
		"without a time":                  {time.Minute, says{"at": "", "since": ""}, fast(time.Hour), time.Minute},
		"of a token that survived":        {10 * time.Minute, says{"survived": "true"}, nil, 30 * time.Second},
		"whose owner listens for longer":  {time.Minute, says{"listens": "2m0s"}, nil, 2*time.Minute + 12*time.Second},
		"whose owner listens for shorter": {time.Minute, says{"listens": "12s"}, nil, time.Minute},
		"whose owner listens for garbage": {time.Minute, says{"listens": "long"}, nil, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(takeover(test.takeover))
				p := f.start(nil)
				if test.change != nil {
					test.change(p)
				}
				claim := claimOf("theirs")
				for name, value := range test.says {
					claim[name] = value
				}
				rejected := f.putRecord(claim)
				start := time.Now()
				f.answers(func(form url.Values) *tokenrequest.Response {
					if after := time.Since(start); after < test.after || after > test.after+6*time.Second {
						t.Errorf("taken over after %v, want %v", after, test.after)
					}
					if held := f.record(); held["nonce"] == "theirs" || held["status"] != "spending" || held["over"] != "" || held["survived"] != "" {
						t.Errorf("the claim is %v", held)
					}
					return rotate(form)
				})
				fresh, err := p.refreshUntil(rejected, test.after+20*time.Second)
				wantToken(t, fresh, err, "canary-a2")
				f.wantAsked(1)
				p.wantEvents(renew.TakenOver, 1)
				p.wantEvents(renew.SentAgain, 1)
				f.wantRecord(readyFor("canary-r2"))
			})
		})
	}
}

func TestTakeoverIsOfEachClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(time.Minute))
		p := f.start(nil)
		rejected := f.putRecord(claimOf("first"))
		_, err := p.refreshUntil(rejected, 50*time.Second)
		wantError(t, nil, err, renew.ErrFailed)
		f.putRecord(claimOf("second"))
		_, err = p.refreshUntil(rejected, 50*time.Second)
		wantError(t, nil, err, renew.ErrFailed)
		f.wantAsked(0)
		fresh, err := p.refreshUntil(rejected, 20*time.Second)
		wantToken(t, fresh, err, "canary-a2")
	})
}

// A claim's owner had no way to end it during an outage of the store, and gets a chance
// after it.
func TestAfterAnOutageOfTheStoreTheOwnerGetsItsChance(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(time.Minute))
		p := f.start(nil)
		rejected := f.putRecord(claimOf("theirs"))
		_, err := p.refreshUntil(rejected, 50*time.Second)
		wantError(t, nil, err, renew.ErrFailed)
		p.link.dead.Store(true)
		_, err = p.refreshUntil(rejected, time.Hour)
		wantError(t, nil, err, renew.ErrFailed)
		p.link.dead.Store(false)
		back := time.Now()
		f.answers(func(form url.Values) *tokenrequest.Response {
			if after := time.Since(back); after < 14*time.Second || after > 20*time.Second {
				t.Errorf("taken over %v after the outage", after)
			}
			return rotate(form)
		})
		fresh, err := p.refreshUntil(rejected, 30*time.Second)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestWithTakeoverNeverAForeignClaimStays(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		p := f.start(nil)
		p.Start()
		claim := claimOf("theirs")
		claim["survived"] = "true"
		rejected := f.putRecord(claim)
		for range 24 * 6 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			if errors.Is(err, renew.ErrReauthorizationRequired) {
				t.Fatalf("%v is for good: its owner may still commit", err)
			}
			time.Sleep(10 * time.Minute)
		}
		f.wantAsked(0)
		if held := f.record(); held["nonce"] != "theirs" {
			t.Errorf("the claim is %v", held)
		}
		f.put(`{"access_token":"canary-their-a","refresh_token":"canary-r5"}`)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-their-a")
	})
}

// A store that nobody else has open: a claim that is not this process's own is an exited
// one's.
func TestInAStoreOfOnesOwnAForeignClaimIsAnExitedProcesss(t *testing.T) {
	exclusive := func(o *renew.Options) { o.Exclusive, o.Journals = true, nil }
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(exclusive)
		rejected := f.putRecord(claimOf("theirs"))
		start := time.Now()
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		wantTook(t, start, 0)
		p.wantEvents(renew.SentAgain, 1)
		p.wantEvents(renew.TakenOver, 0)
	})
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		p := f.start(exclusive)
		rejected := f.putRecord(claimOf("theirs"))
		for range 100 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrReauthorizationRequired)
			time.Sleep(time.Minute)
		}
		f.wantAsked(0)
	})
}

func grace(d time.Duration) func(*oauth2.Config) {
	return func(o *oauth2.Config) { o.Rotation, o.RotationGrace = scheme.RotationGrace, d }
}

// Another process may use the token from 11 s after its first claim until 11 s before the
// end of the grace, all by the store's clock.
func TestWithinTheGraceAClaimIsMadeOverAnother(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		grace, age time.Duration
		since      time.Duration // the first claim, before the present one
		unknown    bool          // when it was claimed
		after      time.Duration // that it is sent; 0: at once, negative: never
	}{
		"younger than its owner's deadline": {grace: minute, age: 5 * time.Second, after: 6 * time.Second},
		"just beyond it":                    {grace: minute, age: 11*time.Second + time.Millisecond},
		"in the middle":                     {grace: minute, age: 30 * time.Second},
		"just before the end":               {grace: minute, age: minute - 11*time.Second - time.Millisecond},
		"too near the end":                  {grace: minute, age: minute - 10*time.Second, after: never},
		"from the future":                   {grace: minute, age: -20 * time.Second, after: never},
		"too short":                         {grace: 21 * time.Second, age: 10 * time.Second, after: never},
		"first claimed before":              {grace: minute, age: 30 * time.Second, since: 20 * time.Second, after: never},
		"without a time":                    {grace: minute, age: 30 * time.Second, unknown: true, after: never},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(grace(test.grace))
				p := f.start(nil)
				p.link.skew = test.age
				claim := claimOf("theirs")
				claim["since"] = stamp(time.Now().Add(-test.since))
				if test.unknown {
					claim["at"] = ""
				}
				rejected := f.putRecord(claim)
				start := time.Now()
				f.answers(func(form url.Values) *tokenrequest.Response {
					if after := time.Since(start); test.after < 0 || after < test.after || after > test.after+1250*time.Millisecond {
						t.Errorf("sent after %v, want %v", after, test.after)
					}
					held := f.record()
					if held["over"] != "theirs" || held["nonce"] == "theirs" || held["since"] != claim["since"] {
						t.Errorf("the claim is %v", held)
					}
					return rotate(form)
				})
				fresh, err := p.refresh(rejected)
				if test.after < 0 {
					wantError(t, fresh, err, renew.ErrFailed)
					f.wantAsked(0)
					return
				}
				wantToken(t, fresh, err, "canary-a2")
				f.wantRecord(readyFor("canary-r2"))
				p.wantEvents(renew.SentAgain, 1)
				p.wantEvents(renew.TakenOver, 0)
			})
		})
	}
}

// Without an answer, it is not made once more when the grace is nearly over: the first owner
// may have the answer, and gets its time.
func TestSilenceWithinTheGraceIsLeftToTakeover(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		p := f.start(nil)
		p.Start()
		claim := claimOf("theirs")
		claim["since"] = stamp(time.Now().Add(-30 * time.Second))
		rejected := f.putRecord(claim)
		f.answers(always(500, ""))
		_, err := p.refreshUntil(rejected, 5*time.Minute)
		wantError(t, nil, err, renew.ErrFailed)
		f.wantAsked(1)
	})
}

// The other may have been granted what this one was refused.
func TestRefusalWithinTheGraceSaysNothingOfTheOther(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		p := f.start(nil)
		rejected := f.putRecord(claimOf("theirs"))
		f.answers(always(400, `{"error":"invalid_grant"}`))
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		if errors.Is(err, renew.ErrReauthorizationRequired) || !strings.HasSuffix(err.Error(), "invalid_grant") {
			t.Errorf("%v is for good, or does not say why", err)
		}
		if held := f.record(); held["status"] != "spending" {
			t.Errorf("the record is %v", held)
		}
		// The other comes back, with what it was granted.
		f.put(granted)
		fresh, err = p.refreshUntil(rejected, 10*time.Second)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
	})
}

// A store that is slow, or fails now and then at random, fast or slowly, keeps nobody from
// taking over.
func TestTakeoverComesWithABadStore(t *testing.T) {
	fails := func(takes time.Duration) func() func() error {
		return func() func() error {
			random := rand.New(rand.NewPCG(rand.Uint64(), 1)) //nolint:gosec // a test's
			return func() error {
				if random.IntN(10) > 0 {
					return nil
				}
				time.Sleep(takes)
				return credential.ErrUnavailable
			}
		}
	}
	takes := func(d time.Duration) func() func() error {
		return func() func() error { return func() error { time.Sleep(d); return nil } }
	}
	for name, test := range map[string]struct {
		reads func() func() error
		late  time.Duration // at most
	}{
		"reads of 1 s":          {takes(time.Second), 15 * time.Second},
		"reads of 1.5 s":        {takes(1500 * time.Millisecond), 15 * time.Second},
		"reads of 4 s":          {takes(4 * time.Second), 20 * time.Second},
		"one in ten fails":      {fails(0), 30 * time.Second},
		"one in ten fails late": {fails(time.Second), 2 * time.Minute},
		"one in ten hangs":      {fails(5 * time.Second), 4 * time.Minute},
	} {
		for _, after := range []time.Duration{15 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprint(name, " ", after), func(t *testing.T) {
				inFleet(t, func(t *testing.T, f *fleet) {
					f.configure(takeover(after))
					p := f.start(nil)
					p.Start()
					p.link.gets(test.reads())
					rejected := f.putRecord(claimOf("theirs"))
					start := time.Now()
					fresh, err := p.refreshUntil(rejected, after+test.late)
					wantToken(t, fresh, err, "canary-a2")
					if took := time.Since(start); took < after {
						t.Errorf("taken over after %v", took)
					}
					f.wantAsked(1)
				})
			})
		}
	}
}
