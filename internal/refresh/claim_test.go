package refresh

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func TestCallersOnThreeReplicasSpendOneToken(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(slowly(time.Second))
		rejected := f.stored()
		var all sync.WaitGroup
		for range 3 {
			r := f.replica(nil)
			for range 100 {
				all.Go(func() {
					fresh, err := r.refresh(rejected)
					wantToken(t, fresh, err, "canary-a2")
				})
			}
		}
		all.Wait()
		f.wantAsked(1)
		f.wantRecord(readyFor("canary-r2"))
		f.wantNoLog(loggedAgain)
	})
}

func TestTheClaimIsInTheDocumentWhenTheTokenIsSent(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		var during record
		var version uint64
		f.answers(func(form url.Values) (int, string) {
			during, version = f.recorded(), f.stored().Version()
			return rotate(form)
		})
		fresh, err := r.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		if !during.claimed() || during.Status != statusSpending || during.Fingerprint != fingerprint("canary-r1") ||
			during.Owner != f.journals.IDs()[0] || during.Over != "" || version != 2 {
			t.Errorf("version %d says %+v", version, during)
		}
		if age, total, ok := during.age(time.Now()); !ok || age != 0 || total != 0 {
			t.Errorf("claimed at %s, first at %s", during.At, during.Since)
		}
		r.settled()
		f.wantRecord(readyFor("canary-r2"))
		if held := f.recorded(); held.Owner+held.At+held.Since != "" {
			t.Errorf("the claim left %+v", held)
		}
	})
}

func TestAClaimIsWaitedForByOnePoller(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(slowly(8 * time.Second))
		rejected := f.stored()
		first, second := f.replica(nil), f.replica(nil)
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := first.refresh(rejected)
			wantToken(t, fresh, err, "canary-a2")
		})
		time.Sleep(time.Second)
		before := f.store.Gets()
		for range 100 {
			all.Go(func() {
				start := time.Now()
				fresh, err := second.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				if took := time.Since(start); took < 7*time.Second || took > 7*time.Second+maxPoll*5/4 {
					t.Errorf("waited %v", took)
				}
			})
		}
		all.Wait()
		f.wantAsked(1)
		if reads := f.store.Gets() - before; reads < 8 || reads > 25 {
			t.Errorf("%d reads in 7 s", reads)
		}
		wantToken(t, f.stored(), nil, "canary-a2")
	})
}

func TestAClaimThatIsReleasedIsMadeByWhoWaits(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(func(url.Values) (int, string) {
			f.answers(rotate)
			time.Sleep(2 * time.Second)
			return 429, ""
		})
		rejected := f.stored()
		first, second := f.replica(nil), f.replica(nil)
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := first.refresh(rejected)
			wantError(t, fresh, err, ErrFailed)
		})
		time.Sleep(time.Second)
		fresh, err := second.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		all.Wait()
		f.wantAsked(2)
		f.wantNoLog(loggedAgain)
	})
}

func TestOperatorsWhoWriteTheDocumentAnewDoNotEndAClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		rejected := f.stored()
		first, second := f.replica(nil), f.replica(nil)
		f.answers(func(form url.Values) (int, string) {
			f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"anew"}`)
			time.Sleep(5 * time.Second)
			return rotate(form)
		})
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := first.refresh(rejected)
			wantToken(t, fresh, err, "canary-a2")
		})
		time.Sleep(time.Second)
		fresh, err := second.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		all.Wait()
		f.wantAsked(1)
		wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"anew"}`)
		f.wantRecord(readyFor("canary-r2"))
	})
}

var disablings = map[string]func(*record){
	"by field":  func(r *record) { r.Disabled = "true" },
	"by status": func(r *record) { r.Status = statusDisabled },
	"by status alone": func(r *record) {
		*r = record{Status: statusDisabled}
	},
}

func TestADisabledDocumentIsNotClaimed(t *testing.T) {
	for name, disable := range disablings {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				rejected := f.putRecord(disable)
				for range 100 {
					fresh, err := r.refresh(rejected)
					wantError(t, fresh, err, errDisabled)
					wantError(t, fresh, err, ErrFailed)
					time.Sleep(time.Second)
				}
				if n := f.connections.Load(); n != 0 {
					t.Errorf("%d connections to the token endpoint", n)
				}
				if v := f.stored().Version(); v != rejected.Version() {
					t.Errorf("written: version %d", v)
				}
				if ids := f.journals.IDs(); len(ids) != 0 {
					t.Errorf("%d journals", len(ids))
				}

				f.putRecord(func(r *record) { r.Disabled, r.Status = "", statusReady })
				fresh, err := r.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
			})
		})
	}
}

func TestADocumentDisabledDuringASpendGetsItsTokensAndStaysDisabled(t *testing.T) {
	for name, disable := range disablings {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				f.answers(func(form url.Values) (int, string) {
					f.putRecord(disable)
					return rotate(form)
				})
				fresh, err := r.refresh(f.stored())
				wantToken(t, fresh, err, "canary-a2")
				r.settled()
				wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
				if held := f.recorded(); !held.disabled() || held.claimed() || held.Fingerprint != fingerprint("canary-r2") {
					t.Errorf("the record is %+v", held)
				}
				for _, r := range []*replica{r, f.replica(nil)} {
					none, err := r.refresh(fresh)
					wantError(t, none, err, errDisabled)
				}
				f.wantAsked(1)
			})
		})
	}
}

func TestADocumentDisabledDuringARefusalStaysDisabled(t *testing.T) {
	for name, disable := range disablings {
		for _, answer := range []string{`{"error":"invalid_grant"}`, `{"error":"invalid_client"}`} {
			t.Run(name+answer, func(t *testing.T) {
				inFleet(t, func(t *testing.T, f *fleet) {
					r := f.replica(nil)
					f.answers(func(url.Values) (int, string) {
						f.putRecord(disable)
						return 400, answer
					})
					fresh, err := r.refresh(f.stored())
					if fresh != nil || err == nil {
						t.Fatalf("got %v, %v", fresh, err)
					}
					time.Sleep(time.Hour)
					if held := f.recorded(); !held.disabled() {
						t.Errorf("the record is %+v", held)
					}
					r.refresh(f.stored())
					f.wantAsked(1)
				})
			})
		}
	}
}

func TestWithoutRotationNothingIsClaimed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.provider = f.newProvider(func(o *scheme.OAuth2) { o.Rotation = scheme.RotationNone })
		f.answers(always(200, `{"access_token":"canary-a2"}`))
		r := f.replica(nil)
		before := f.stored()
		fresh, err := r.refresh(before)
		wantToken(t, fresh, err, "canary-a2")
		r.settled()
		if v := f.stored().Version(); v != before.Version()+1 {
			t.Errorf("version %d", v)
		}
		if stored := string(f.stored().Stored()); strings.Contains(stored, credential.ReservedField) {
			t.Errorf("a record was added: %s", stored)
		}
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals", len(ids))
		}
	})
}

func TestAProviderThatIsSeenToLeaveTheTokenIsNotClaimedUntilItRotates(t *testing.T) {
	for name, answer := range map[string]string{"no refresh token": `"}`, "the same": `","refresh_token":"canary-r1"}`} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(nil)
				refresh := func(access string, writes uint64) {
					t.Helper()
					before := f.stored()
					fresh, err := r.refresh(before)
					wantToken(t, fresh, err, access)
					r.settled()
					if n := f.stored().Version() - before.Version(); n != writes {
						t.Errorf("%d writes for %s, want %d", n, access, writes)
					}
				}
				stays := func(access string) { f.answers(always(200, `{"access_token":"`+access+answer)) }
				stays("canary-a2")
				refresh("canary-a2", 2)
				stays("canary-a3")
				refresh("canary-a3", 1)
				f.answers(always(200, `{"access_token":"canary-a4","refresh_token":"canary-r2"}`))
				refresh("canary-a4", 1)
				f.wantRecord(readyFor("canary-r2"))
				f.answers(always(200, `{"access_token":"canary-a5","refresh_token":"canary-r3"}`))
				refresh("canary-a5", 2)
				f.wantNoLog(loggedAgain)
				if adopted, _, err := f.journals.Start().Adopt(); len(adopted) > 0 || err != nil {
					t.Errorf("left %v, %v", adopted, err)
				}
			})
		})
	}
}

func TestRefreshNowGoesPastARestAndNotPastARefusal(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		f.answers(always(400, `{"error":"invalid_client"}`))
		rejected := f.stored()
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		fresh, err = r.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		f.wantAsked(1)
		r.settled()

		f.answers(always(400, `{"error":"invalid_grant"}`))
		fresh, err = r.RefreshNow(t.Context(), f.provider, tenant)
		wantError(t, fresh, err, ErrReauthorizationRequired)
		f.wantAsked(2)
		r.settled()
		f.answers(rotate)
		for range 10 {
			fresh, err = r.RefreshNow(t.Context(), f.provider, tenant)
			wantError(t, fresh, err, ErrReauthorizationRequired)
		}
		f.wantAsked(2)
	})
}

func TestRefreshNowRefreshesAndRespectsClaims(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		fresh, err := r.RefreshNow(t.Context(), f.provider, tenant)
		wantToken(t, fresh, err, "canary-a2")
		r.settled()
		f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1"}`)
		f.claimedBy("theirs")
		none, err := r.RefreshNow(t.Context(), f.provider, tenant)
		wantError(t, none, err, ErrFailed)
		f.wantAsked(1)

		other := credential.Tenant("nobody")
		if _, err := r.RefreshNow(t.Context(), f.provider, other); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
