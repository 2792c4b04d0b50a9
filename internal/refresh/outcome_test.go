package refresh

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func TestWhatLeavesTheTokenAsItIsReleasesTheClaim(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"503":                      {503, ""},
		"503, whatever it says":    {503, `{"error":"invalid_grant"}`},
		"429":                      {429, ""},
		"invalid_client":           {401, `{"error":"invalid_client"}`},
		"invalid_client with 200":  {200, `{"error":"invalid_client"}`},
		"invalid_scope":            {400, `{"error":"invalid_scope"}`},
		"redirect":                 {302, ""},
		"not found":                {404, "<html>"},
		"not asked, by its status": {408, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				one, another := f.replica(nil), f.replica(nil)
				rejected := f.stored()
				f.answers(always(test.status, test.body))
				fresh, err := one.refresh(rejected)
				wantError(t, fresh, err, ErrFailed)
				one.settled()
				f.wantRecord(readyFor("canary-r1"))
				wantDocument(t, f.stored(), string(rejected.JSON()))

				// Nobody else has to wait for that.
				f.answers(rotate)
				fresh, err = another.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				f.wantNoLog(loggedAgain)
				f.wantAsked(2)
				one.kill()
				another.settled()
				if adopted, _, err := f.journals.Start().Adopt(); len(adopted) != 0 || err != nil {
					t.Errorf("left %v, %v", adopted, err)
				}
			})
		})
	}
}

func TestSilenceLeavesTheClaimAndItsOwnerClaimsOverIt(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"no answer":           {0, ""},
		"500":                 {500, ""},
		"500, with a code":    {500, `{"error":"invalid_grant"}`},
		"501":                 {501, ""},
		"502":                 {502, "<html>"},
		"520":                 {520, ""},
		"200 without a token": {200, `{"token_type":"bearer"}`},
		"200 with nothing":    {200, ""},
		"204":                 {204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				owner, other := f.replica(nil), f.replica(nil)
				rejected := f.stored()
				f.answers(always(test.status, test.body))
				fresh, err := owner.refresh(rejected)
				wantError(t, fresh, err, ErrFailed)
				owner.settled()
				claim := f.recorded()
				if !claim.claimed() || claim.Fingerprint != fingerprint("canary-r1") {
					t.Errorf("the record is %+v", claim)
				}
				start := time.Now()
				fresh, err = owner.refresh(rejected) // rests
				wantError(t, fresh, err, ErrFailed)
				if time.Since(start) != 0 {
					t.Error("waited in a rest")
				}

				f.answers(func(form url.Values) (int, string) {
					if rest := time.Since(start); rest < minRest || rest > 3*time.Second {
						t.Errorf("sent again after %v", rest)
					}
					if now := f.recorded(); now.Nonce == claim.Nonce || !now.claimed() || now.Over != "" || now.Since != claim.Since {
						t.Errorf("the claim over %+v is %+v", claim, now)
					}
					return rotate(form)
				})
				go other.refresh(rejected)
				time.Sleep(minRest / 2)
				f.wantAsked(1)
				time.Sleep(minRest)
				fresh, err = owner.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				other.settled()
				owner.settled()
				f.wantAsked(2)
				f.wantLog(loggedAgain)
				f.wantLog("total=1")
				f.wantRecord(readyFor("canary-r2"))
			})
		})
	}
}

func TestTheOwnerOfASilentClaimNeedsNoRequestToGoOn(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		owner := f.replica(nil)
		owner.Start()
		f.answers(always(500, ""))
		fresh, err := owner.refresh(f.stored())
		wantError(t, fresh, err, ErrFailed)
		f.answers(rotate)
		time.Sleep(5 * time.Second)
		wantToken(t, f.stored(), nil, "canary-a2")
		f.wantAsked(2)
		f.wantRecord(readyFor("canary-r2"))
	})
}

func TestARefusalIsWrittenDownForEverybody(t *testing.T) {
	for _, code := range []string{"invalid_grant", "unauthorized_client"} {
		t.Run(code, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				one := f.replica(nil)
				rejected := f.stored()
				f.answers(always(400, `{"error":"`+code+`"}`))
				fresh, err := one.refresh(rejected)
				wantError(t, fresh, err, ErrReauthorizationRequired)
				one.settled()
				refused := record{Status: statusReauthorize, Fingerprint: fingerprint("canary-r1")}
				f.wantRecord(refused)
				one.kill()

				f.answers(rotate)
				after := f.replica(nil) // a restart
				for range 10 {
					fresh, err = after.refresh(rejected)
					wantError(t, fresh, err, ErrReauthorizationRequired)
					time.Sleep(time.Hour)
				}
				// The same document anew is the same token.
				f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"anew"}`)
				for range 10 {
					fresh, err = after.refresh(rejected)
					wantError(t, fresh, err, ErrReauthorizationRequired)
					time.Sleep(time.Hour)
				}
				fresh, err = f.replica(nil).RefreshNow(t.Context(), f.provider, tenant)
				wantError(t, fresh, err, ErrReauthorizationRequired)
				f.wantAsked(1)

				// Another one is another.
				f.put(`{"access_token":"canary-a1","refresh_token":"canary-r7"}`)
				time.Sleep(time.Second)
				fresh, err = after.refresh(rejected)
				wantToken(t, fresh, err, "canary-a8")
			})
		})
	}
}

func TestAPersonTakesARefusalBack(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.stored()
		f.answers(always(400, `{"error":"invalid_grant"}`))
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, ErrReauthorizationRequired)
		f.answers(rotate)
		f.putRecord(func(r *record) { r.Status = statusReady })
		time.Sleep(2 * time.Second)
		fresh, err = r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestARefusalOfWhatSomebodyElseHasMovedOnFromIsNotWritten(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		f.answers(func(url.Values) (int, string) {
			f.put(`{"access_token":"canary-their-a","refresh_token":"canary-their-r"}`)
			return 400, `{"error":"invalid_grant"}`
		})
		fresh, err := r.refresh(f.stored())
		wantToken(t, fresh, err, "canary-their-a")
		r.settled()
		f.wantRecord(record{})
	})
}

func TestARequestPastItsDeadlineIsNotSentAndItsClaimReleased(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.stored()
		// The claim took so long that the deadline is over, as when a process is stopped.
		r.store.puts(first(1, func(put func() (uint64, error)) (uint64, error) {
			n, err := put()
			time.Sleep(spendDeadline)
			return n, err
		}))
		fresh, err := r.refresh(rejected)
		wantError(t, fresh, err, ErrFailed)
		r.settled()
		f.wantAsked(0)
		f.wantRecord(readyFor("canary-r1"))
		time.Sleep(2 * time.Second)
		fresh, err = r.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantNoLog(loggedAgain)
	})
}

func TestAnEndpointThatCannotBeReachedCostsNoClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(func(o *Options) { o.Transport = unreachable{} })
		before := f.stored()
		for range 10 {
			fresh, err := r.refresh(before)
			wantError(t, fresh, err, ErrFailed)
			time.Sleep(time.Minute)
		}
		if v := f.stored().Version(); v != before.Version() {
			t.Errorf("version %d", v)
		}
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals", len(ids))
		}
	})
}

func TestARotationOfAnAnswerThatIsCutIsNotGuessed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *scheme.OAuth2) { o.Takeover = -1 })
		r := f.replica(nil)
		f.answers(always(200, `{"access_token":"canary-a2","refresh_tok`))
		fresh, err := r.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		r.settled()
		f.wantRecord(record{Status: statusReauthorize, Fingerprint: fingerprint("canary-r1")})
		none, err := r.refresh(fresh)
		wantError(t, none, err, ErrReauthorizationRequired)
		if errors.Is(err, ErrFailed) {
			t.Errorf("got %v", err)
		}
		f.wantAsked(1)
	})
}
