package refresh

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Fates of a write.
var (
	errLost = credential.ErrUnavailable

	applied = func(put func() (uint64, error)) (uint64, error) { put(); return 0, errLost }
	lost    = func(func() (uint64, error)) (uint64, error) { return 0, errLost }
	// repeated is what a proxy on the way does: the first is applied, the second
	// answered.
	repeated = func(put func() (uint64, error)) (uint64, error) { put(); return put() }
)

// late writes d after it has said that it does not know.
func late(d time.Duration) func(func() (uint64, error)) (uint64, error) {
	return func(put func() (uint64, error)) (uint64, error) {
		time.AfterFunc(d, func() { put() })
		return 0, errLost
	}
}

// first has one fate for the first n writes, and none for the others.
func first(n int64, fate func(func() (uint64, error)) (uint64, error)) func(func() (uint64, error)) (uint64, error) {
	var writes atomic.Int64
	return func(put func() (uint64, error)) (uint64, error) {
		if writes.Add(1) <= n {
			return fate(put)
		}
		return put()
	}
}

func TestAClaimWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, test := range map[string]struct {
		fate   func(func() (uint64, error)) (uint64, error)
		writes uint64 // that are applied until the end
	}{
		"applied":             {first(1, applied), 2},
		"lost":                {first(1, lost), 2},
		"lost three times":    {first(3, lost), 2},
		"late":                {first(1, late(10*time.Millisecond)), 2},
		"late, after ours":    {first(1, late(time.Second)), 2},
		"repeated on the way": {first(1, repeated), 2},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				before := f.stored()
				r.store.puts(test.fate)
				var nonces []string
				f.answers(func(form url.Values) (int, string) {
					nonces = append(nonces, f.recorded().Nonce)
					r.store.puts(nil)
					return rotate(form)
				})
				fresh, err := r.refresh(before)
				wantToken(t, fresh, err, "canary-a2")
				r.settled()
				time.Sleep(5 * time.Second) // the late one, too
				if n := f.stored().Version() - before.Version(); n != test.writes {
					t.Errorf("%d writes", n)
				}
				if len(nonces) != 1 || nonces[0] == "" {
					t.Errorf("claims %v when the token was sent", nonces)
				}
				f.wantAsked(1)
				f.wantRecord(readyFor("canary-r2"))
				f.wantNoLog(loggedAgain)
			})
		})
	}
}

func TestAClaimThatIsLostToAnotherIsNotSpent(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.stored()
		r.store.puts(func(put func() (uint64, error)) (uint64, error) {
			r.store.puts(nil)
			f.claimedBy("theirs")
			return put() // a conflict
		})
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		f.wantAsked(0)
		if held := f.recorded(); held.Nonce != "theirs" {
			t.Errorf("the claim is %+v", held)
		}
		r.kill()
		if adopted, _, err := f.journals.Start().Adopt(); len(adopted) != 0 || err != nil {
			t.Errorf("the journal has %v, %v", adopted, err)
		}
	})
}

func TestWhoGivesUpAClaimOwesARelease(t *testing.T) {
	for name, test := range map[string]struct {
		fate    func(func() (uint64, error)) (uint64, error)
		mayShow bool // the claim may be in the document meanwhile
	}{
		"lost":            {lost, false},
		"late":            {late(30 * time.Second), true},
		"late, after all": {late(90 * time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				rejected := f.stored()
				r.store.puts(test.fate)
				start := time.Now()
				fresh, err := r.refresh(rejected)
				wantError(t, fresh, err, ErrFailed)
				if took := time.Since(start); took < claimDeadline || took > claimDeadline+maxClaimPause*5/4 {
					t.Errorf("gave up after %v", took)
				}
				// Nobody waits any more for what it goes on with. (Later on a late release
				// may be in, and the next refresh under way.)
				for range 45 {
					start := time.Now()
					fresh, err := r.refresh(rejected)
					wantError(t, fresh, err, ErrFailed)
					if took := time.Since(start); took != 0 {
						t.Errorf("a call waited %v", took)
					}
					if !test.mayShow && f.recorded().claimed() {
						t.Error("claimed")
					}
					time.Sleep(time.Second)
				}
				f.wantAsked(0)
				f.wantLog("a claim stays in the document until the store takes its end")

				r.store.puts(nil)
				time.Sleep(2 * maxCommitPause)
				r.settled()
				if held := f.recorded(); held.claimed() {
					t.Errorf("the record is %+v", held)
				}
				time.Sleep(2 * time.Minute) // whatever is late
				if held := f.recorded(); held.claimed() {
					t.Errorf("a late write claimed: %+v", held)
				}
				wantDocument(t, f.stored(), string(rejected.JSON()))
				f.wantAsked(0)
				fresh, err = r.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				f.wantNoLog(loggedAgain)
				r.settled()
				r.kill()
				if adopted, _, err := f.journals.Start().Adopt(); len(adopted) != 0 || err != nil {
					t.Errorf("the journal has %v, %v", adopted, err)
				}
			})
		})
	}
}

func TestAClaimIsNotMadeOfADeletedDocument(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.stored()
		r.store.puts(func(func() (uint64, error)) (uint64, error) {
			if err := f.store.Delete(context.Background(), key); err != nil {
				t.Error(err)
			}
			r.store.puts(nil)
			return 0, errLost
		})
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, errDeleted)
		time.Sleep(time.Hour)
		if _, err := f.store.Get(context.Background(), key); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("it is back: %v", err)
		}
		f.wantAsked(0)
	})
}

func TestACommitWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, fate := range map[string]func(func() (uint64, error)) (uint64, error){
		"applied": first(1, applied), "lost": first(1, lost), "late": first(1, late(50*time.Millisecond)),
		"late, after ours": first(1, late(time.Minute)), "repeated": first(1, repeated), "three times": first(3, lost),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				before := f.stored()
				f.answers(func(form url.Values) (int, string) {
					r.store.puts(fate)
					return rotate(form)
				})
				fresh, err := r.refresh(before)
				wantToken(t, fresh, err, "canary-a2")
				r.settled()
				time.Sleep(2 * time.Minute)
				if v := f.stored().Version(); v != before.Version()+2 {
					t.Errorf("version %d", v)
				}
				wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
				f.wantRecord(readyFor("canary-r2"))
				f.wantAsked(1)
			})
		})
	}
}

func TestAReleaseWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, fate := range map[string]func(func() (uint64, error)) (uint64, error){
		"applied": first(1, applied), "lost": first(1, lost), "late": first(1, late(50*time.Millisecond)),
		"late, after ours": first(1, late(time.Minute)), "repeated": first(1, repeated),
	} {
		for status, want := range map[int]record{429: readyFor("canary-r1"), 400: {Status: statusReauthorize, Fingerprint: fingerprint("canary-r1")}} {
			t.Run(name, func(t *testing.T) {
				inFleet(t, func(t *testing.T, f *fleet) {
					r := f.replica(nil)
					before := f.stored()
					f.answers(func(url.Values) (int, string) {
						r.store.puts(fate)
						return status, `{"error":"invalid_grant"}`
					})
					fresh, err := r.refresh(before)
					if fresh != nil || err == nil || errors.Is(err, ErrReauthorizationRequired) != (status == 400) {
						t.Errorf("got %v, %v", fresh, err)
					}
					r.settled()
					time.Sleep(2 * time.Minute)
					f.wantRecord(want)
					wantDocument(t, f.stored(), string(before.JSON()))
				})
			})
		}
	}
}

func TestUnclearAnswersOnThreeReplicasSpendOneToken(t *testing.T) {
	for name, fate := range map[string]func() func(func() (uint64, error)) (uint64, error){
		"applied":  func() func(func() (uint64, error)) (uint64, error) { return first(1, applied) },
		"lost":     func() func(func() (uint64, error)) (uint64, error) { return first(1, lost) },
		"late":     func() func(func() (uint64, error)) (uint64, error) { return first(1, late(60*time.Millisecond)) },
		"repeated": func() func(func() (uint64, error)) (uint64, error) { return first(1, repeated) },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				rejected := f.stored()
				f.answers(slowly(time.Second))
				var all sync.WaitGroup
				for range 3 {
					r := f.replica(nil)
					r.store.puts(fate())
					for range 3 {
						all.Go(func() {
							fresh, err := r.refresh(rejected)
							wantToken(t, fresh, err, "canary-a2")
						})
					}
				}
				all.Wait()
				f.wantAsked(1)
			})
		})
	}
}
