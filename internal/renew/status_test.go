package renew_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func parseText(t testing.TB, document string) *credential.Credential {
	t.Helper()
	return parse(t, credential.Document{Data: []byte(document)})
}

func TestStatusOf(t *testing.T) {
	const at = "2026-01-02T03:04:05.678Z"
	since, print := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), fingerprint("r1")
	inFleet(t, func(t *testing.T, f *fleet) {
		for name, test := range map[string]struct {
			document string
			want     renew.Status
		}{
			"nothing said":          {with("r1", nil), renew.Status{State: "ready"}},
			"ready":                 {with("r1", says{"status": "ready", "fingerprint": print, "by": "b"}), renew.Status{State: "ready", By: "b"}},
			"claimed":               {with("r1", says{"status": "spending", "fingerprint": print, "nonce": "n", "at": at, "since": "x", "by": "b"}), renew.Status{State: "refreshing", By: "b", ClaimedSince: since}},
			"claimed, no time":      {with("r1", says{"status": "spending", "fingerprint": print, "at": "soon"}), renew.Status{State: "refreshing"}},
			"claimed and disabled":  {with("r1", says{"disabled": "true", "fingerprint": print, "nonce": "n", "at": at}), renew.Status{State: "refreshing", Disabled: true, ClaimedSince: since}},
			"refused, disabled":     {with("r1", says{"status": "reauthorization_required", "fingerprint": print, "disabled": "true"}), renew.Status{State: "reauthorization_required", Disabled: true}},
			"another token":         {with("r2", says{"status": "reauthorization_required", "fingerprint": print, "by": "b"}), renew.Status{State: "ready", By: "b"}},
			"another token claimed": {with("r2", says{"status": "spending", "fingerprint": print, "nonce": "n"}), renew.Status{State: "ready"}},
			"no token":              {`{"access_token":"a","_upstream_auth":{"by":"b"}}`, renew.Status{State: "ready", By: "b"}},
			"garbage":               {`{"refresh_token":"r1","_upstream_auth":[17]}`, renew.Status{State: "ready"}},
		} {
			if got := renew.StatusOf(f.provider.Renewer, parseText(t, test.document)); got != test.want {
				t.Errorf("%s: got %+v, want %+v", name, got, test.want)
			}
			want := renew.Status{State: "ready", Disabled: test.want.Disabled, By: test.want.By}
			if got := renew.StatusOf(nil, parseText(t, test.document)); got != want {
				t.Errorf("%s: without refreshes got %+v, want %+v", name, got, want)
			}
		}
	})
}

func TestSetDisabled(t *testing.T) {
	for name, test := range map[string]struct {
		before   string
		disabled bool
		after    string
	}{
		"set":                {`{"a":1}`, true, `{"a":1,"_upstream_auth":{"disabled":"true"}}`},
		"set again":          {`{"a":1,"_upstream_auth":{"disabled":true}}`, true, `{"a":1,"_upstream_auth":{"disabled":"true"}}`},
		"set in a claim":     {`{"_upstream_auth":{"status":"spending","nonce":"n","by":"b"},"a":1}`, true, `{"a":1,"_upstream_auth":{"status":"spending","nonce":"n","disabled":"true","by":"b"}}`},
		"cleared":            {`{"a":1,"_upstream_auth":{"disabled":"true"}}`, false, `{"a":1}`},
		"cleared, not set":   {`{"a":1}`, false, `{"a":1}`},
		"cleared in a claim": {`{"a":1,"_upstream_auth":{"status":"spending","nonce":"n","disabled":"true"}}`, false, `{"a":1,"_upstream_auth":{"status":"spending","nonce":"n"}}`},
	} {
		cred := parseText(t, test.before)
		if got, err := renew.SetDisabled(cred, test.disabled); err != nil || string(got) != test.after || string(cred.Stored()) != test.before {
			t.Errorf("%s: got  %s, %v\nwant %s", name, got, err, test.after)
		}
	}
}

func TestCarry(t *testing.T) {
	const claim = `"_upstream_auth":{"status":"spending","fingerprint":"f","nonce":"n","owner":"o","at":"t","since":"s","listens":"1m","over":"v","survived":"true","disabled":"true","by":"%s"}`
	for name, test := range map[string]struct{ old, document, by, want string }{
		"the first":             {"", `{"a":1}`, "api", `{"a":1,"_upstream_auth":{"by":"api"}}`},
		"the first, of nobody":  {"", ` {"a":1} `, "", ` {"a":1} `},
		"over a claim":          {`{"x":1,` + fmt.Sprintf(claim, "p1") + `}`, `{"a":1}`, "api", `{"a":1,` + fmt.Sprintf(claim, "api") + `}`},
		"over nothing said":     {`{"x":1}`, `{}`, "api", `{"_upstream_auth":{"by":"api"}}`},
		"of nobody over nobody": {`{"x":1,"_upstream_auth":{"by":"p1"}}`, `{"a":1}`, "", `{"a":1}`},
	} {
		var old *credential.Credential
		if test.old != "" {
			old = parseText(t, test.old)
		}
		if got, err := renew.Carry(old, []byte(test.document), test.by); err != nil || string(got) != test.want {
			t.Errorf("%s: got  %s, %v\nwant %s", name, got, err, test.want)
		}
	}
	old := parseText(t, `{"_upstream_auth":{"status":"spending","nonce":"n"}}`)
	for name, document := range map[string]string{
		"the reserved key":          `{"_upstream_auth":{"status":"ready"}}`,
		"the reserved key, escaped": `{"\u005fupstream_auth":{"status":"ready"}}`,
		"no object":                 `[]`,
		"what has no room for it":   `{"a":"` + strings.Repeat("x", credential.MaxSize-10) + `"}`,
	} {
		if got, err := renew.Carry(old, []byte(document), "api"); got != nil || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got %.60s, %v", name, got, err)
		}
	}
}

// Somebody replaces the credential while its token is on the way: the same token stays
// claimed, another one wins.
func TestCarriedClaimCountsForItsToken(t *testing.T) {
	for name, test := range map[string]struct{ document, token, by string }{
		"the same token": {`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"new"}`, "canary-a2", "p1"},
		"another token":  {`{"access_token":"canary-b1","refresh_token":"canary-s1"}`, "canary-b1", "api"},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p := f.start(func(o *renew.Options) { o.Name = "p1" })
				f.answers(func(form url.Values) *tokenrequest.Response {
					held := f.stored()
					if s := renew.StatusOf(f.provider.Renewer, held); s.State != "refreshing" || s.ClaimedSince.IsZero() {
						t.Errorf("during the token request: %+v", s)
					}
					document, err := renew.Carry(held, []byte(test.document), "api")
					if err != nil {
						t.Error(err)
					}
					f.put(string(document))
					return rotate(form)
				})
				fresh, err := p.refresh(f.stored())
				wantToken(t, fresh, err, test.token)
				f.wantAsked(1)
				if s := renew.StatusOf(f.provider.Renewer, f.stored()); s != (renew.Status{State: "ready", By: test.by}) {
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
			if got := f.record()["by"]; got != want {
				t.Errorf("by %q, want %q", got, want)
			}
		}
		one, two := f.start(func(o *renew.Options) { o.Name = "one" }), f.start(func(o *renew.Options) { o.Name = "two" })
		fresh, err := one.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		wantBy("one")
		// A claim and its release; a document written anew: the version before it says who.
		for _, answer := range []answerer{always(429, ""), always(400, `{"error":"invalid_grant"}`)} {
			f.answers(func(form url.Values) *tokenrequest.Response {
				wantBy("one")
				return answer(form)
			})
			f.put(string(f.stored().JSON()) + " ")
			_, err := two.RefreshNow(t.Context(), f.provider, tenant)
			if err == nil {
				t.Error("it is refreshed")
			}
			two.settled()
			wantBy("one")
		}
		f.answers(rotate)
		fresh, err = two.refresh(f.put(`{"access_token":"canary-a6","refresh_token":"canary-r6"}`))
		wantToken(t, fresh, err, "canary-a7")
		wantBy("two")
		fresh, err = f.start(nil).refresh(fresh) // who has no name leaves no other's
		wantToken(t, fresh, err, "canary-a8")
		wantBy("")
	})
}

// The last outcome of each credential is kept, and a claim alone is none.
func TestLastOutcome(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		if last, ok := p.LastOutcome(key); ok {
			t.Errorf("nothing happened, and it says %+v", last)
		}
		f.answers(func(form url.Values) *tokenrequest.Response {
			if last, ok := p.LastOutcome(key); ok {
				t.Errorf("a claim alone is %+v", last)
			}
			return status(400, `{"error":"invalid_client","error_description":"unknown app with canary-r1"}`)
		})
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		last, ok := p.LastOutcome(key)
		if !ok || last.Kind != renew.Failed || last.Status != 400 || last.Code != "invalid_client" || !strings.Contains(last.Description, "unknown app") ||
			strings.Contains(last.Description, "canary") || last.At != time.Now() || !errors.Is(last.Err, renew.ErrFailed) || last.Until != last.At.Add(last.Cooldown) {
			t.Errorf("the last outcome is %+v", last)
		}
		f.answers(rotate)
		p.settled()
		fresh, err := p.RefreshNow(t.Context(), f.provider, tenant)
		wantToken(t, fresh, err, "canary-a2")
		for range 10 { // as many requests were sent with it
			p.Rejected(f.provider, tenant, fresh)
		}
		if last, _ := p.LastOutcome(key); last.Kind != renew.Rejected || last.Count != 1 {
			t.Errorf("the last outcome is %+v", last)
		}
		for i := range 10_000 {
			_, err := p.RefreshNow(t.Context(), f.provider, credential.Tenant(fmt.Sprint("nobody", i)))
			wantError(t, nil, err, credential.ErrNotFound)
			_, err = p.Refresh(t.Context(), f.provider, credential.Tenant(fmt.Sprint("nobody", i)), fresh)
			wantError(t, nil, err, credential.ErrNotFound)
		}
		all := p.LastOutcomes(key.Provider)
		if _, ok := p.LastOutcome(key); ok || len(all) != 10_000 || all[0].Tenant != "nobody9999" || all[0].Kind != renew.Deleted || len(p.LastOutcomes("other")) != 0 {
			t.Errorf("%d are kept, the newest is %+v", len(all), all[0])
		}
	})
}
