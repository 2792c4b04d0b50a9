package refresh

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// keepRefreshing calls once a second for as long as there is an error, and for no
// longer than d. It returns what the last call returned.
func (r *replica) keepRefreshing(rejected *credential.Credential, d time.Duration) (fresh *credential.Credential, err error) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		if fresh, err = r.refresh(rejected); err == nil {
			return fresh, nil
		}
	}
	return nil, err
}

func (f *fleet) configure(change func(*scheme.OAuth2)) { f.provider = f.newProvider(change) }

func TestAForeignClaimIsWaitedForOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.claimedBy("first")
		takes := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			fresh, err := r.refresh(rejected)
			wantError(t, fresh, err, ErrFailed)
			if took := time.Since(start); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
		takes(patience)
		reads := f.store.Gets()
		for range 600 { // a minute
			takes(0)
			time.Sleep(100 * time.Millisecond)
		}
		if n := f.store.Gets() - reads; n > 120 {
			t.Errorf("%d reads in a minute", n)
		}
		// Another claim is another matter.
		rejected = f.claimedBy("second")
		time.Sleep(2 * time.Second)
		takes(patience)
		takes(0)
		f.wantAsked(0)
	})
}

func TestWhoComesLateWaitsForTheRestOnly(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.claimedBy("theirs")
		time.AfterFunc(0, func() { r.refresh(rejected) })
		time.Sleep(10 * time.Second)
		start := time.Now()
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, errClaimed)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestASilentClaimIsTakenOverAfterItsTime(t *testing.T) {
	for _, takeover := range []time.Duration{scheme.MinTakeover, time.Minute, scheme.DefaultTakeover} {
		t.Run(takeover.String(), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(func(o *scheme.OAuth2) { o.Takeover = takeover })
				r := f.replica(nil)
				r.store.skew = 24 * time.Hour // whose clock is not asked
				f.claimedBy("theirs")
				rejected := f.putRecord(func(r *record) { r.At, r.Since = "2000-01-01T00:00:00Z", "1999-01-01T00:00:00Z" })
				time.Sleep(time.Hour) // nobody has seen it until now
				start := time.Now()
				f.answers(func(form url.Values) (int, string) {
					if age := time.Since(start); age < takeover || age > takeover+3*time.Second {
						t.Errorf("taken over after %v", age)
					}
					if held := f.recorded(); held.Nonce == "theirs" || !held.claimed() || held.Over != "" {
						t.Errorf("the claim is %+v", held)
					}
					return rotate(form)
				})
				fresh, err := r.keepRefreshing(rejected, takeover+5*time.Second)
				wantToken(t, fresh, err, "canary-a2")
				f.wantAsked(1)
				f.wantLog(loggedTakeover)
				f.wantLog(loggedAgain)
				f.wantLog("total=1")
			})
		})
	}
}

func TestATakeoverStartsAnewWithEachNonce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = time.Minute })
		r := f.replica(nil)
		rejected := f.claimedBy("first")
		_, err := r.keepRefreshing(rejected, 50*time.Second)
		wantError(t, nil, err, errClaimed)
		f.claimedBy("second")
		_, err = r.keepRefreshing(rejected, 50*time.Second)
		wantError(t, nil, err, errClaimed)
		f.wantAsked(0)
		fresh, err := r.keepRefreshing(rejected, 20*time.Second)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestATakeoverStartsAnewAfterAnOutageOfTheStore(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = time.Minute })
		r := f.replica(nil)
		rejected := f.claimedBy("theirs")
		_, err := r.keepRefreshing(rejected, 50*time.Second)
		wantError(t, nil, err, ErrFailed)
		r.store.dead.Store(true)
		_, err = r.keepRefreshing(rejected, time.Hour)
		wantError(t, nil, err, ErrFailed)
		r.store.dead.Store(false)
		// Its owner had no way to end it, and gets its time now.
		_, err = r.keepRefreshing(rejected, 50*time.Second)
		wantError(t, nil, err, ErrFailed)
		f.wantAsked(0)
		fresh, err := r.keepRefreshing(rejected, 20*time.Second)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestWithTakeoverNeverAForeignClaimStays(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = -1 })
		r := f.replica(nil)
		r.Start()
		rejected := f.claimedBy("theirs")
		for range 24 * 6 {
			fresh, err := r.refresh(rejected)
			wantError(t, fresh, err, ErrFailed)
			if errors.Is(err, ErrReauthorizationRequired) {
				t.Fatalf("%v is for good: its owner may still commit", err)
			}
			time.Sleep(10 * time.Minute)
		}
		f.wantAsked(0)
		if held := f.recorded(); held.Nonce != "theirs" {
			t.Errorf("the claim is %+v", held)
		}
		f.put(`{"access_token":"canary-their-a","refresh_token":"canary-r5"}`)
		fresh, err := r.refresh(rejected)
		wantToken(t, fresh, err, "canary-their-a")
	})
}

func TestWithTakeoverNeverAnOwnSilentClaimWaitsForAPerson(t *testing.T) {
	for name, status := range map[string]int{"no answer": 0, "500": 500, "a 200 without tokens": 200} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.configure(func(o *scheme.OAuth2) { o.Takeover = -1 })
				f.answers(always(status, ""))
				r := f.replica(nil)
				r.Start()
				rejected := f.stored()
				fresh, err := r.refresh(rejected)
				wantError(t, fresh, err, ErrFailed)
				f.answers(rotate)
				time.Sleep(10 * time.Second)
				for range 24 * 6 {
					fresh, err := r.refresh(rejected)
					wantError(t, fresh, err, ErrReauthorizationRequired)
					time.Sleep(10 * time.Minute)
				}
				fresh, err = r.RefreshNow(t.Context(), f.provider, tenant)
				wantError(t, fresh, err, ErrReauthorizationRequired)
				f.wantAsked(1)
				f.wantNoLog(loggedAgain)

				// Somebody looked, and says that the token is good.
				f.putRecord(func(r *record) { *r = record{Status: statusReady, Fingerprint: fingerprint("canary-r1")} })
				time.Sleep(time.Minute)
				fresh, err = r.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
			})
		})
	}
}

func TestWithTakeoverNeverADeadProcesssClaimIsNotSpentAgain(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = -1 })
		rejected := f.stored()
		first := f.replica(nil)
		f.answers(func(url.Values) (int, string) { first.kill(); return 0, "" })
		first.refresh(rejected)
		f.answers(rotate)
		second := f.replica(nil)
		second.Start()
		time.Sleep(time.Minute)
		for range 100 {
			fresh, err := second.refresh(rejected)
			wantError(t, fresh, err, ErrReauthorizationRequired)
			time.Sleep(10 * time.Minute)
		}
		f.wantAsked(1)
	})
}

func TestInAStoreOfOnesOwnAForeignClaimIsADeadOnes(t *testing.T) {
	exclusive := func(o *Options) { o.Exclusive, o.Journals = true, nil }
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = scheme.DefaultTakeover })
		r := f.replica(exclusive)
		rejected := f.claimedBy("theirs")
		start := time.Now()
		fresh, err := r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		f.wantLog(loggedAgain)
		f.wantNoLog(loggedTakeover)
		r.settled()
		f.wantRecord(readyFor("canary-r2"))
	})
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = -1 })
		r := f.replica(exclusive)
		rejected := f.claimedBy("theirs")
		for range 100 {
			fresh, err := r.refresh(rejected)
			wantError(t, fresh, err, ErrReauthorizationRequired)
			time.Sleep(time.Minute)
		}
		f.wantAsked(0)
	})
}

func TestADeadProcesssAnswerIsCommitted(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		rejected := f.stored()
		first := f.replica(nil)
		f.answers(func(form url.Values) (int, string) {
			first.store.dead.Store(true) // it cannot commit any more
			return rotate(form)
		})
		fresh, err := first.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		first.kill()
		second := f.replica(nil)
		second.Start()
		time.Sleep(2 * time.Second)
		wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		f.wantRecord(readyFor("canary-r2"))
		fresh, err = second.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
		f.wantNoLog(loggedAgain)
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals are left", len(ids))
		}
	})
}

func TestADeadProcesssBareClaimIsClaimedOverAtOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		rejected := f.stored()
		first, second := f.replica(nil), f.replica(nil)
		second.Start()
		f.answers(func(url.Values) (int, string) {
			f.answers(rotate)
			first.kill()
			return 0, ""
		})
		first.refresh(rejected)
		start := time.Now()
		fresh, err := second.refresh(rejected) // which is under way when the journal is found
		wantToken(t, fresh, err, "canary-a2")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		f.wantAsked(2)
		f.wantLog(loggedAgain)
		second.settled()
		f.wantRecord(readyFor("canary-r2"))
		if n := strings.Count(f.log.String(), loggedAgain); n != 1 {
			t.Errorf("%d tokens sent again", n)
		}
	})
}
