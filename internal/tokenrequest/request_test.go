package tokenrequest_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func basic(id, secret string) string { //nolint:unparam // as in the RFC
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

func TestRequestsOnTheWire(t *testing.T) {
	type kind func(tokenrequest.Parameters) (*http.Request, error)
	refresh := func(p tokenrequest.Parameters) (*http.Request, error) {
		return tokenrequest.GrantRequest(p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r1"}})
	}
	code := func(p tokenrequest.Parameters) (*http.Request, error) {
		return tokenrequest.CodeRequest(p, "c1", "https://us.example/callback", "v1")
	}
	revocation := func(p tokenrequest.Parameters) (*http.Request, error) {
		return tokenrequest.RevocationRequest(p, "r1", "refresh_token")
	}
	refreshed := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"r1"}}
	spent := url.Values{"grant_type": {"authorization_code"}, "code": {"c1"}, "redirect_uri": {"https://us.example/callback"}, "code_verifier": {"v1"}}
	revoked := url.Values{"token": {"r1"}, "token_type_hint": {"refresh_token"}}
	in := tokenrequest.Parameters{ClientID: "client", ClientSecret: "secret", AuthStyle: oauth2.AuthStyleInParams}
	header := tokenrequest.Parameters{ClientID: "id of acme:é", ClientSecret: "p+w %&=:", AuthStyle: oauth2.AuthStyleInHeader}
	public := tokenrequest.Parameters{ClientID: "client", AuthStyle: oauth2.AuthStyleInParams}
	more := header
	more.Params = url.Values{"scope": {"read write:all"}, "audience": {"https://api.example/?a=b&c"}, "empty": {""}}
	other := public
	other.Params = url.Values{"grant_type": {"urn:other"}}
	with := func(form url.Values, more ...string) url.Values {
		all := url.Values{}
		for name, values := range form {
			all[name] = values
		}
		for i := 0; i < len(more); i += 2 {
			all.Set(more[i], more[i+1])
		}
		return all
	}
	for name, test := range map[string]struct {
		kind          kind
		parameters    tokenrequest.Parameters
		authorization string
		form          url.Values
	}{
		"refresh, header":         {refresh, header, basic("id of acme:é", "p+w %&=:"), refreshed},
		"refresh, parameters":     {refresh, in, "", with(refreshed, "client_id", "client", "client_secret", "secret")},
		"refresh, public":         {refresh, public, "", with(refreshed, "client_id", "client")},
		"refresh with more":       {refresh, more, basic("id of acme:é", "p+w %&=:"), with(refreshed, "scope", "read write:all", "audience", "https://api.example/?a=b&c", "empty", "")},
		"refresh of another kind": {refresh, other, "", with(refreshed, "client_id", "client", "grant_type", "urn:other")},
		"code, header":            {code, header, basic("id of acme:é", "p+w %&=:"), spent},
		"code, parameters":        {code, in, "", with(spent, "client_id", "client", "client_secret", "secret")},
		"code with more":          {code, more, basic("id of acme:é", "p+w %&=:"), with(spent, "scope", "read write:all", "audience", "https://api.example/?a=b&c", "empty", "")},
		"revocation, header":      {revocation, header, basic("id of acme:é", "p+w %&=:"), revoked},
		"revocation, parameters":  {revocation, in, "", with(revoked, "client_id", "client", "client_secret", "secret")},
		"revocation, public":      {revocation, public, "", with(revoked, "client_id", "client")},
		"revocation with no more": {revocation, more, basic("id of acme:é", "p+w %&=:"), revoked},
	} {
		t.Run(name, func(t *testing.T) {
			connections := 0
			var got *http.Request
			var body []byte
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections++
				}
			}
			s.Start()
			defer s.Close()
			test.parameters.URL = s.URL + "/token?tenant=x"
			req, err := test.kind(test.parameters)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := tokenrequest.Do(t.Context(), direct(), req, nil, soon()); err != nil || r.Status != 200 {
				t.Fatalf("got %+v, %v", r, err)
			}
			form, err := url.ParseQuery(string(body))
			if err != nil || fmt.Sprint(form) != fmt.Sprint(test.form) {
				t.Errorf("form %v, %v, want %v", form, err, test.form)
			}
			if authorization := got.Header.Get("Authorization"); authorization != test.authorization {
				t.Errorf("authorization %q, want %q", authorization, test.authorization)
			}
			if got.Method != "POST" || got.Proto != "HTTP/1.1" || !got.Close || got.URL.RawQuery != "tenant=x" || connections != 1 ||
				got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.Header.Get("Accept") != "application/json" {
				t.Errorf("request %s %s %s %v on connection %d", got.Method, got.URL, got.Proto, got.Header, connections)
			}
		})
	}
}

func TestRequestsThatCannotBeMade(t *testing.T) {
	for name, change := range map[string]func(*tokenrequest.Parameters){
		"client authentication that is guessed": func(p *tokenrequest.Parameters) { p.AuthStyle = oauth2.AuthStyleAutoDetect },
		"no URL":                                func(p *tokenrequest.Parameters) { p.URL = "https://canary\x00" },
		"scope twice": func(p *tokenrequest.Parameters) {
			p.URL = "canary:\x00"
		},
	} {
		p := parameters("https://as.example")
		change(&p)
		if req, err := tokenrequest.GrantRequest(p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"canary-r1"}}); req != nil || err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, %v", name, req, err)
		}
	}
}
