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

func TestStandingOf(t *testing.T) {
	o := oauth2Of(t)
	print := fingerprint("r1")
	const at = "2026-01-02T03:04:05.678Z"
	since := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for name, test := range map[string]struct {
		document string
		want     Standing
	}{
		"nothing said":          {document("r1", record{}), Standing{Status: "ready"}},
		"ready":                 {document("r1", record{Status: statusReady, Fingerprint: print, By: "b"}), Standing{Status: "ready", By: "b"}},
		"claimed":               {document("r1", record{Status: statusSpending, Fingerprint: print, Nonce: "n", At: at, Since: "2025-01-02T03:04:05Z", By: "b"}), Standing{Status: "refreshing", By: "b", ClaimedSince: since}},
		"claimed, no time":      {document("r1", record{Status: statusSpending, Fingerprint: print, At: "soon"}), Standing{Status: "refreshing"}},
		"claimed and disabled":  {document("r1", record{Status: statusDisabled, Fingerprint: print, Nonce: "n", At: at}), Standing{Status: "refreshing", Disabled: true, ClaimedSince: since}},
		"refused":               {document("r1", record{Status: statusReauthorize, Fingerprint: print}), Standing{Status: "reauthorization_required"}},
		"refused, disabled":     {document("r1", record{Status: statusReauthorize, Fingerprint: print, Disabled: "true"}), Standing{Status: "reauthorization_required", Disabled: true}},
		"refused unseen":        {document("r1", record{Status: statusDisabled, Fingerprint: print, Nonce: nonceRefused}), Standing{Status: "reauthorization_required", Disabled: true}},
		"another token":         {document("r2", record{Status: statusReauthorize, Fingerprint: print, Disabled: "true", By: "b"}), Standing{Status: "ready", Disabled: true, By: "b"}},
		"another token claimed": {document("r2", record{Status: statusSpending, Fingerprint: print, Nonce: "n", At: at}), Standing{Status: "ready"}},
		"no token":              {`{"access_token":"a","_upstream_auth":{"status":"ready","by":"b"}}`, Standing{Status: "ready", By: "b"}},
		"garbage":               {`{"refresh_token":"r1","_upstream_auth":[17]}`, Standing{Status: "ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := StandingOf(o, parseText(t, test.document)); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			want := Standing{Status: "ready", Disabled: test.want.Disabled, By: test.want.By}
			if got := StandingOf(nil, parseText(t, test.document)); got != want {
				t.Errorf("without refreshes got %+v, want %+v", got, want)
			}
		})
	}
}

func TestSetDisabled(t *testing.T) {
	for name, test := range map[string]struct {
		before   string
		disabled bool
		after    string
	}{
		"set":                 {`{"a":1}`, true, `{"a":1,"_upstream_auth":{"disabled":"true"}}`},
		"set again":           {`{"a":1,"_upstream_auth":{"disabled":true}}`, true, `{"a":1,"_upstream_auth":{"disabled":"true"}}`},
		"set in a claim":      {`{"_upstream_auth":{"status":"spending","nonce":"n","by":"b"},"a":1}`, true, `{"a":1,"_upstream_auth":{"status":"spending","nonce":"n","disabled":"true","by":"b"}}`},
		"cleared":             {`{"a":1,"_upstream_auth":{"disabled":"true"}}`, false, `{"a":1}`},
		"cleared, not set":    {`{"a":1}`, false, `{"a":1}`},
		"cleared in a claim":  {`{"a":1,"_upstream_auth":{"status":"spending","nonce":"n","disabled":"true"}}`, false, `{"a":1,"_upstream_auth":{"status":"spending","nonce":"n"}}`},
		"cleared, the status": {`{"a":1,"_upstream_auth":{"status":"disabled","fingerprint":"f","nonce":"n"}}`, false, `{"a":1,"_upstream_auth":{"fingerprint":"f","nonce":"n"}}`},
		"cleared, refused unseen": {
			`{"a":1,"_upstream_auth":{"status":"disabled","fingerprint":"f","nonce":"refused","disabled":"true"}}`, false,
			`{"a":1,"_upstream_auth":{"status":"reauthorization_required","fingerprint":"f"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cred := parseText(t, test.before)
			got, err := SetDisabled(cred, test.disabled)
			if err != nil || string(got) != test.after {
				t.Errorf("got  %s, %v\nwant %s", got, err, test.after)
			}
			if recordOf(parseText(t, string(got))).disabled() != test.disabled {
				t.Error("the switch is not where it should be")
			}
			if string(cred.Stored()) != test.before {
				t.Error("the credential was changed")
			}
		})
	}
}

func TestSwitchStopsRefreshesAndLetsThemGoOn(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		switchTo := func(disabled bool) *credential.Credential {
			document, err := SetDisabled(f.stored(), disabled)
			if err != nil {
				t.Fatal(err)
			}
			return f.put(string(document))
		}
		fresh, err := r.refresh(switchTo(true))
		wantError(t, fresh, err, ErrFailed)
		f.wantAsked(0)
		time.Sleep(time.Minute)
		fresh, err = r.refresh(switchTo(false))
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestCarry(t *testing.T) {
	const claim = `"_upstream_auth":{"status":"spending","fingerprint":"f","nonce":"n","owner":"o","at":"t","since":"s","disabled":"true","by":"%"}`
	for name, test := range map[string]struct{ old, document, by, want string }{
		"the first":            {"", `{"a":1}`, "api", `{"a":1,"_upstream_auth":{"by":"api"}}`},
		"the first, of nobody": {"", ` {"a":1} `, "", ` {"a":1} `},
		"over a claim": {
			`{"x":1,` + strings.Replace(claim, "%", "p1", 1) + `}`, `{"a":1}`, "api", `{"a":1,` + strings.Replace(claim, "%", "api", 1) + `}`,
		},
		"over nothing said":     {`{"x":1}`, `{}`, "api", `{"_upstream_auth":{"by":"api"}}`},
		"of nobody over nobody": {`{"x":1,"_upstream_auth":{"by":"p1"}}`, `{"a":1}`, "", `{"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			var old *credential.Credential
			if test.old != "" {
				old = parseText(t, test.old)
			}
			got, err := Carry(old, []byte(test.document), test.by)
			if err != nil || string(got) != test.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, test.want)
			}
		})
	}
}

func TestCarryRefuses(t *testing.T) {
	old := parseText(t, `{"_upstream_auth":{"status":"spending","nonce":"n"}}`)
	for name, document := range map[string]string{
		"the reserved key":          `{"_upstream_auth":{"status":"ready"}}`,
		"the reserved key, escaped": `{"\u005fupstream_auth":{"status":"ready"}}`,
		"no object":                 `[]`,
		"what has no room for it":   `{"a":"` + strings.Repeat("x", credential.MaxSize-10) + `"}`,
	} {
		if got, err := Carry(old, []byte(document), "api"); got != nil || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got %.60s, %v", name, got, err)
		}
	}
}

// Somebody replaces the credential while its token is on the way: the same token
// stays claimed, another one wins.
func TestCarriedClaimCountsForItsToken(t *testing.T) {
	for name, test := range map[string]struct{ document, token, by string }{
		"the same token": {`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"new"}`, "canary-a2", "p1"},
		"another token":  {`{"access_token":"canary-b1","refresh_token":"canary-s1"}`, "canary-b1", "api"},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				r := f.replica(func(o *Options) { o.Name = "p1" })
				f.answers(func(form url.Values) (int, string) {
					held := f.stored()
					if s := StandingOf(f.provider.Scheme.OAuth2(), held); s.Status != "refreshing" || s.ClaimedSince.IsZero() {
						t.Errorf("during the token request: %+v", s)
					}
					document, err := Carry(held, []byte(test.document), "api")
					if err != nil {
						t.Error(err)
					}
					f.put(string(document))
					return rotate(form)
				})
				fresh, err := r.refresh(f.stored())
				wantToken(t, fresh, err, test.token)
				r.settled()
				f.wantAsked(1)
				if s := StandingOf(f.provider.Scheme.OAuth2(), f.stored()); s != (Standing{Status: "ready", By: test.by}) {
					t.Errorf("afterwards: %+v", s)
				}
			})
		})
	}
}

func TestDocumentSaysWhoObtainedItsTokens(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		wantBy := func(want string) {
			t.Helper()
			if got := f.recorded().By; got != want {
				t.Errorf("by %q, want %q", got, want)
			}
		}
		one, two := f.replica(func(o *Options) { o.Name = "one" }), f.replica(func(o *Options) { o.Name = "two" })
		fresh, err := one.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		one.settled()
		wantBy("one")

		// A claim, and its release.
		f.answers(func(url.Values) (int, string) {
			wantBy("one")
			return 429, ``
		})
		none, err := two.refresh(fresh)
		wantError(t, none, err, ErrFailed)
		two.settled()
		wantBy("one")
		f.wantRecord(record{Status: statusReady, Fingerprint: fingerprint("canary-r2"), By: "one"})

		// Somebody writes the document anew: the version before it says who.
		f.put(string(f.stored().JSON()))
		wantBy("")
		time.Sleep(time.Minute)
		f.answers(func(url.Values) (int, string) {
			wantBy("one")
			return 400, `{"error":"invalid_grant"}`
		})
		none, err = two.refresh(fresh)
		wantError(t, none, err, ErrReauthorizationRequired)
		two.settled()
		f.wantRecord(record{Status: statusReauthorize, Fingerprint: fingerprint("canary-r2"), By: "one"})

		// Other tokens from outside, and a refresh of them.
		fresh = f.put(`{"access_token":"canary-a6","refresh_token":"canary-r6"}`)
		f.answers(rotate)
		time.Sleep(time.Minute)
		fresh, err = two.refresh(fresh)
		wantToken(t, fresh, err, "canary-a7")
		two.settled()
		wantBy("two")

		// A process without a name does not leave another's there.
		nameless := f.replica(nil)
		fresh, err = nameless.refresh(fresh)
		wantToken(t, fresh, err, "canary-a8")
		nameless.settled()
		f.wantRecord(readyFor("canary-r8"))
	})
}

func TestWithoutRotationADocumentSaysWhoIfSomebodyHasAName(t *testing.T) {
	for _, name := range []string{"", "p1"} {
		inFleet(t, func(t *testing.T, f *fleet) {
			f.configure(func(o *scheme.OAuth2) { o.Rotation = scheme.RotationNone })
			f.answers(always(200, `{"access_token":"canary-a2"}`))
			r := f.replica(func(o *Options) { o.Name = name })
			fresh, err := r.refresh(f.stored())
			wantToken(t, fresh, err, "canary-a2")
			r.settled()
			if name == "" {
				f.wantRecord(record{})
				return
			}
			f.wantRecord(record{Status: statusReady, Fingerprint: fingerprint("canary-r1"), By: name})
		})
	}
}
