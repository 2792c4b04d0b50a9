package refresh

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func grace(d time.Duration) func(*scheme.OAuth2) {
	return func(o *scheme.OAuth2) { o.Rotation, o.RotationGrace = scheme.RotationGrace, d }
}

func TestWithinTheGraceAClaimIsMadeOverAnother(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		r := f.replica(nil)
		rejected := f.claimedBy("theirs")
		start := time.Now()
		f.answers(func(form url.Values) (int, string) {
			if age := time.Since(start); age <= 11*time.Second || age > 11*time.Second+maxPoll*5/4 {
				t.Errorf("sent after %v", age)
			}
			held := f.recorded()
			if held.Over != "theirs" || held.Nonce == "theirs" || !held.claimed() {
				t.Errorf("the claim is %+v", held)
			}
			if age, total, ok := held.age(time.Now()); !ok || age > 2*time.Second || total != time.Since(start) {
				t.Errorf("claimed %v ago, first %v ago", age, total)
			}
			return rotate(form)
		})
		fresh, err := r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		r.settled()
		f.wantRecord(readyFor("canary-r2"))
		f.wantLog(loggedAgain)
		f.wantNoLog(loggedTakeover)
	})
}

func TestTheGraceIsOfTheStoresClock(t *testing.T) {
	const d = time.Minute
	for name, test := range map[string]struct {
		age  time.Duration
		want bool
	}{
		"younger than its owner's deadline": {10 * time.Second, false},
		"just beyond it":                    {11*time.Second + time.Millisecond, true},
		"in the middle":                     {30 * time.Second, true},
		"just before the end":               {d - 11*time.Second - time.Millisecond, true},
		"too near the end":                  {d - 10*time.Second, false},
		"over":                              {d + time.Second, false},
		"from the future":                   {-30 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(grace(d))
				r := f.replica(nil)
				r.store.skew = test.age
				rejected := f.claimedBy("theirs")
				start := time.Now()
				asked := make(chan time.Duration, 1)
				f.answers(func(form url.Values) (int, string) {
					asked <- time.Since(start)
					return rotate(form)
				})
				go r.refresh(rejected)
				time.Sleep(time.Millisecond / 2)
				if at := len(asked) == 1; at != test.want {
					t.Errorf("sent at once: %v", at)
				}
				r.settled()
			})
		})
	}
}

func TestAGraceTooShortIsNotUsed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(21 * time.Second))
		r := f.replica(nil)
		rejected := f.claimedBy("theirs")
		_, err := r.keepRefreshing(rejected, 5*time.Minute)
		wantError(t, nil, err, errClaimed)
		f.wantAsked(0)
	})
}

func TestTheGraceCountsFromTheFirstClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		f.claimedBy("theirs")
		since := time.Now()
		rejected := f.putRecord(func(r *record) { r.Over = "an earlier one" })
		r := f.replica(nil)
		time.Sleep(30 * time.Second)
		f.putRecord(func(r *record) { r.Nonce, r.At = "another", time.Now().UTC().Format(time.RFC3339Nano) })
		f.answers(func(url.Values) (int, string) {
			if age := time.Since(since); age < 41*time.Second || age > 49*time.Second {
				t.Errorf("sent %v after the first claim", age)
			}
			return 0, "" // no answer: the next may not use what is left
		})
		r.keepRefreshing(rejected, 3*time.Minute)
		f.wantAsked(1)
	})
}

func TestAClaimWithoutATimeHasNoGrace(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Hour))
		r := f.replica(nil)
		f.claimedBy("theirs")
		rejected := f.putRecord(func(r *record) { r.At = "" })
		_, err := r.keepRefreshing(rejected, time.Minute)
		wantError(t, nil, err, errClaimed)
		f.wantAsked(0)
	})
}

func TestARefusalWithinTheGraceSaysNothingOfTheOther(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(grace(time.Minute))
		r := f.replica(nil)
		rejected := f.claimedBy("theirs")
		f.answers(always(400, `{"error":"invalid_grant"}`))
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		if errors.Is(err, ErrReauthorizationRequired) {
			t.Errorf("%v is for good", err)
		}
		r.settled()
		if held := f.recorded(); held.refused() || !held.claimed() {
			t.Errorf("the record is %+v", held)
		}
		// The other comes back, with what it was granted.
		f.put(`{"access_token":"canary-a2","refresh_token":"canary-r2"}`)
		time.Sleep(5 * time.Second)
		fresh, err = r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
	})
}
