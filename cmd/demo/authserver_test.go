package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// post sends a form to the authorization server.
func post(t *testing.T, s *authServer, path string, form url.Values, user, password string) (status int, answer map[string]any) {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	rec := httptest.NewRecorder()
	s.handler().ServeHTTP(rec, req)
	_ = json.Unmarshal(rec.Body.Bytes(), &answer)
	return rec.Code, answer
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

func TestRefreshTokensAreGoodForOneUse(t *testing.T) {
	s := newAuthServer(new(events))
	access1, refresh1 := s.grantTo("acme")
	if tenant, current := s.inspect(access1); tenant != "acme" || !current {
		t.Errorf("the first access token: of %q, current %v", tenant, current)
	}

	status, answer := post(t, s, "/token", refreshForm(refresh1), s.clientID, s.clientSecret)
	access2, _ := answer["access_token"].(string)
	refresh2, _ := answer["refresh_token"].(string)
	if status != 200 || answer["token_type"] != "Bearer" || answer["expires_in"] != float64(lifetime) || refresh2 == refresh1 {
		t.Fatalf("refresh: %d %v", status, answer)
	}
	_, first := s.inspect(access1)
	if _, second := s.inspect(access2); first || !second {
		t.Errorf("the first access token is current: %v, the second: %v", first, second)
	}

	// The spent one comes again: all that came of the grant is worthless.
	for _, token := range []string{refresh1, refresh2} {
		status, answer = post(t, s, "/token", refreshForm(token), s.clientID, s.clientSecret)
		if status != 400 || answer["error"] != "invalid_grant" {
			t.Errorf("refresh after reuse: %d %v", status, answer)
		}
	}
	if _, current := s.inspect(access2); current {
		t.Error("an access token outlived its grant")
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	s := newAuthServer(new(events))
	access, refresh := s.grantTo("acme")
	tests := map[string]struct {
		form           url.Values
		user, password string
		status         int
		code           string
	}{
		"no client":             {refreshForm(refresh), "", "", 401, "invalid_client"},
		"another client":        {refreshForm(refresh), "other", s.clientSecret, 401, "invalid_client"},
		"another secret":        {refreshForm(refresh), s.clientID, "guess", 401, "invalid_client"},
		"another grant":         {url.Values{"grant_type": {"password"}}, s.clientID, s.clientSecret, 400, "unsupported_grant_type"},
		"no token":              {refreshForm(""), s.clientID, s.clientSecret, 400, "invalid_grant"},
		"an unknown token":      {refreshForm(refresh + "x"), s.clientID, s.clientSecret, 400, "invalid_grant"},
		"an access token":       {refreshForm(access), s.clientID, s.clientSecret, 400, "invalid_grant"},
		"a token of the client": {refreshForm(s.clientSecret), s.clientID, s.clientSecret, 400, "invalid_grant"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, answer := post(t, s, "/token", test.form, test.user, test.password)
			if status != test.status || answer["error"] != test.code {
				t.Errorf("%d %v, want %d %s", status, answer, test.status, test.code)
			}
		})
	}
	if _, _, ok := s.redeem(refresh); !ok {
		t.Error("one of them spent the refresh token")
	}
}

func TestAccessTokensCanBeMadeToExpire(t *testing.T) {
	s := newAuthServer(new(events))
	access, refresh := s.grantTo("acme")
	if status, _ := post(t, s, "/expire?tenant=globex", nil, "", ""); status != 404 {
		t.Errorf("expiring nobody's: %d", status)
	}
	if status, _ := post(t, s, "/reuse?tenant=acme", nil, "", ""); status != 404 {
		t.Errorf("reusing what was not spent: %d", status)
	}
	if _, current := s.inspect(access); !current {
		t.Error("it expired already")
	}
	if status, _ := post(t, s, "/expire?tenant=acme", nil, "", ""); status != 200 {
		t.Errorf("expiring: %d", status)
	}
	if _, current := s.inspect(access); current {
		t.Error("it is still current")
	}
	if _, _, ok := s.redeem(refresh); !ok {
		t.Error("the refresh token went with it")
	}
}
