package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestConsentLeadsToTokens(t *testing.T) {
	f := begin(t, Config{Fields: func(e Entry) map[string]any {
		return map[string]any{"instance_url": "https://" + e.Tenant + ".example/" + e.Grant}
	}})
	if v := f.open(nil); v.status != http.StatusOK || v.back != "" {
		t.Fatalf("the page: %+v", v)
	}
	v := f.allow("acme")
	if v.back != callback || v.response.Get("state") != f.request.Get("state") || v.response.Get("iss") != f.address {
		t.Fatalf("sent back with %+v", v)
	}
	a, err := f.exchange(v.response.Get("code"))
	if err != nil || a.Status != http.StatusOK || a.IDToken == "" || a.ExpiresIn < 3500 {
		t.Fatalf("exchange: %+v, %v", a, err)
	}
	if tenant, ok := f.server.Subject(a.Access); !ok || tenant != "acme" {
		t.Errorf("access token: %q, %t", tenant, ok)
	}
	if a.InstanceURL != "https://acme.example/authorization_code" {
		t.Errorf("instance_url %q", a.InstanceURL)
	}
	next, err := refresh(t, f.address+"/token", a.Refresh)
	if err != nil || next.InstanceURL != "https://acme.example/refresh_token" || next.IDToken == "" {
		t.Errorf("refresh: %+v, %v", next, err)
	}
	if err := f.server.Expire("acme"); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.server.Subject(next.Access); ok {
		t.Error("the server lost track of who the tokens belong to")
	}
	entries := f.server.Of("acme")
	if len(entries) != 2 || entries[0].Grant != "authorization_code" || entries[0].Outcome != Granted ||
		entries[1].Grant != "refresh_token" || entries[1].Outcome != Rotated {
		t.Errorf("ledger: %+v", entries)
	}
}

func TestWithoutTheScopeThereIsNoIDToken(t *testing.T) {
	f := begin(t, Config{})
	f.request.Set("scope", "api")
	a, err := f.exchange(f.code())
	if err != nil || a.Access == "" || a.Refresh == "" || a.IDToken != "" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestPageAsksForTheAccount(t *testing.T) {
	f := begin(t, Config{})
	f.request.Set("scope", "api")
	page := f.open(nil).body
	for _, want := range []string{
		`<html lang="en">`, `<label for="account">`, `<input id="account" name="account"`, `<strong>sidecar</strong>`, "for: api.",
		`<button id="allow" name="decision" value="allow">`, `<button id="deny" name="decision" value="deny">`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if v := f.allow(""); v.status != http.StatusUnprocessableEntity || !strings.Contains(v.body, `role="alert"`) {
		t.Errorf("without an account: %+v", v)
	}
}

// Every authorization response has the issuer, unless a test wants another.
func TestIssuerOfAuthorizationResponses(t *testing.T) {
	deny := func(f *flow) visit { return f.open(url.Values{"account": {"acme"}, "decision": {"deny"}}) }
	for name, c := range map[string]struct {
		send  func(*flow) visit
		error string
	}{
		"allowed": {send: func(f *flow) visit { return f.allow("acme") }},
		"denied":  {send: deny, error: "access_denied"},
		"without a challenge": {send: func(f *flow) visit {
			f.request.Del("code_challenge")
			return f.allow("acme")
		}, error: "invalid_request"},
		"with the verifier as the challenge": {send: func(f *flow) visit {
			f.request.Set("code_challenge", f.verifier)
			f.request.Set("code_challenge_method", "plain")
			return f.allow("acme")
		}, error: "invalid_request"},
		"with a short state": {send: func(f *flow) visit {
			f.request.Set("state", "short")
			return f.open(nil)
		}, error: "invalid_state"},
		"for another scope": {send: func(f *flow) visit {
			f.request.Set("scope", "api admin")
			return f.open(nil)
		}, error: "invalid_scope"},
		"for a token": {send: func(f *flow) visit {
			f.request.Set("response_type", "token")
			return f.open(nil)
		}, error: "unsupported_response_type"},
		"refused": {send: func(f *flow) visit {
			f.server.RefuseAuthorization("temporarily_unavailable")
			return f.open(nil)
		}, error: "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, alteration := range []struct {
				alter func(url.Values)
				iss   func(own string) string
			}{
				{iss: func(own string) string { return own }},
				{alter: WithoutIssuer, iss: func(string) string { return "" }},
				{alter: WithIssuer("https://mallory.example"), iss: func(string) string { return "https://mallory.example" }},
			} {
				f := begin(t, Config{})
				f.server.AlterResponses(alteration.alter)
				v := c.send(f)
				if v.back != callback || v.response.Get("error") != c.error || (c.error == "") != v.response.Has("code") {
					t.Errorf("%+v", v)
				}
				if got, want := strings.Join(v.response["iss"], " "), alteration.iss(f.address); got != want {
					t.Errorf("iss %q, wanted %q", got, want)
				}
			}
		})
	}
}

func TestBrowserIsNotSentToStrangers(t *testing.T) {
	for name, uri := range map[string]string{
		"another host": "http://mallory.example/callback",
		"another port": "http://127.0.0.1:8/callback",
		"another path": callback + "/x",
		"more query":   callback + "?x=1",
		"none":         "",
	} {
		t.Run(name, func(t *testing.T) {
			f := begin(t, Config{})
			f.request.Set("redirect_uri", uri)
			for _, v := range []visit{f.open(nil), f.allow("acme")} {
				if v.status != http.StatusBadRequest || v.back != "" {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	f := begin(t, Config{})
	f.request.Set("client_id", "another")
	if v := f.allow("acme"); v.status != http.StatusUnauthorized || v.back != "" {
		t.Errorf("another client: %+v", v)
	}
}

func TestCodeIsBoundAndGoodOnce(t *testing.T) {
	f := begin(t, Config{})
	for name, more := range map[string][]string{
		"another verifier":     {"code_verifier", strings.Repeat("x", 43)},
		"no verifier":          {"code_verifier", ""},
		"another redirect URI": {"redirect_uri", callback + "/other"},
		"another code":         {"code", "ory_ac_x.y"},
	} {
		if a, err := f.exchange(f.code(), more...); err != nil || a.Error != "invalid_grant" {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	code := f.code()
	first, _ := f.exchange(code)
	if first.Access == "" {
		t.Fatalf("%+v", first)
	}
	if again, err := f.exchange(code); err != nil || again.Error != "invalid_grant" {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	if _, ok := f.server.Subject(first.Access); ok {
		t.Error("the tokens outlived the reuse of their code")
	}
	got := outcomes(f.server)
	if n := len(got); n != 6 || got[n-3] != Invalid || got[n-2] != Granted || got[n-1] != Reused {
		t.Errorf("ledger: %v", got)
	}
	if len(f.server.PresentedTwice()) != 1 {
		t.Error("the reuse is not in the ledger")
	}
}

func TestScriptOfAnExchange(t *testing.T) {
	f := begin(t, Config{})
	f.server.PlayFor("acme", func(e Entry) Behaviour {
		if e.Grant != "authorization_code" {
			return Behaviour{}
		}
		return Behaviour{After: Error500}
	})
	code := f.code()
	if a, err := f.exchange(code); err != nil || a.Status != http.StatusInternalServerError || a.Access != "" {
		t.Errorf("%+v, %v", a, err)
	}
	f.server.PlayFor("acme", func(Entry) Behaviour { return Behaviour{Instead: Unavailable("1")} })
	if a, err := f.exchange(code); err != nil || a.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v, %v", a, err)
	}
	if got := outcomes(f.server); len(got) != 2 || got[0] != Lost || got[1] != Refused {
		t.Errorf("ledger: %v", got)
	}
}

func TestBrowserThatIsSignedIn(t *testing.T) {
	f := begin(t, Config{})
	f.server.SignIn("acme")
	v := f.open(nil)
	if v.back != callback || v.response.Get("code") == "" {
		t.Fatalf("sent back with %+v", v)
	}
	f.server.SignIn("")
	if v := f.open(nil); v.status != http.StatusOK {
		t.Errorf("the page: %+v", v)
	}
}
