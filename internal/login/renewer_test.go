package login_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestWhatALoginSpends(t *testing.T) {
	plain := newRenewer(t, login.Config{})
	refreshed := newRenewer(t, login.Config{Refresh: &refreshing, TokenFields: tokens})
	extended := newRenewer(t, login.Config{Refresh: &login.Request{URL: "https://api.example/extend", Header: fields{"Authorization": "Bearer {credential.access_token}"}}})
	chained := newRenewer(t, login.Config{Requests: []login.Request{{URL: "https://api.example/t", Form: fields{"ticket": "{credential.ticket}"}}},
		TokenFields: []login.TokenField{{Field: "session", Path: "session"}, {Field: "ticket", Path: "next"}}})
	for name, c := range map[string]struct {
		renewer  *login.Renewer
		document string
		spends   string
		fails    bool
		asked    string
	}{
		"nothing":                              {plain, `{"user":"ann","password":"p","access_token":"a1","refresh_token":"r1"}`, "", false, "/login"},
		"a refresh token":                      {refreshed, `{"user":"ann","password":"p","refresh_token":"r1"}`, "r1", false, "/refresh"},
		"nothing, without a refresh token":     {refreshed, `{"user":"ann","password":"p"}`, "", false, "/login"},
		"nothing, with one that is null":       {refreshed, `{"user":"ann","password":"p","refresh_token":null}`, "", false, "/login"},
		"the token itself":                     {extended, `{"user":"ann","password":"p","access_token":"a1"}`, "a1", false, "/extend"},
		"nothing, with no token yet":           {extended, `{"user":"ann","password":"p"}`, "", false, "/login"},
		"what the answer before brought":       {chained, `{"ticket":"t1"}`, "t1", false, "/t"},
		"what the answer before did not bring": {chained, `{"session":"s"}`, "", true, ""},
	} {
		cred := newCredential(t, c.document)
		spends, err := c.renewer.Spends(cred)
		if spends != c.spends || errors.Is(err, credential.ErrInvalid) != c.fails {
			t.Errorf("%s: spends %q, %v", name, spends, err)
		}
		req, _, err := c.renewer.Request(t.Context(), cred)
		if (err != nil) != c.fails || err == nil && req.URL.Path != c.asked {
			t.Errorf("%s: %v, %v", name, req, err)
		}
	}
	want := scheme.Renewal{RefreshAhead: scheme.DefaultRefreshAhead, Rotation: scheme.RotationSingleUse, Takeover: scheme.DefaultTakeover}
	if got := scheme.RenewalOf(refreshed); got != want {
		t.Errorf("tokens are spent as in %+v", got)
	}
}

func TestTokenAndItsExpiry(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	timed := newRenewer(t, login.Config{ExpiresIn: "ttl", TokenFields: []login.TokenField{{Field: "s.token", Path: "t"}}})
	for document, want := range map[string]string{
		`{"s":{"token":"t1"},"expires_at":"2026-03-01T12:00:00Z"}`: "t1",
		`{"s":{"token":"t2"},"expires_at":1772366400}`:             "t2",
	} {
		c := newCredential(t, document)
		token, err := timed.Token(c)
		if until, ok := timed.ExpiresAt(c); !ok || !until.Equal(at) || token != want || err != nil {
			t.Errorf("%s: %s, %v until %v", document, token, err, until)
		}
	}
	for _, document := range []string{`{}`, `{"s":{"token":"a\nb"}}`, `{"s":{"token":""}}`, `{"s":{"token":[]}}`} {
		if token, err := timed.Token(newCredential(t, document)); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %q, %v", document, token, err)
		}
	}
	if _, ok := timed.ExpiresAt(newCredential(t, `{"expires_at":"soon"}`)); ok {
		t.Error("soon is a time")
	}
	if _, ok := newRenewer(t, login.Config{}).ExpiresAt(newCredential(t, `{"expires_at":"2026-03-01T12:00:00Z"}`)); ok {
		t.Error("what is nobody's is a time")
	}
}

func TestSchemaAsksForWhatALoginUses(t *testing.T) {
	r := newRenewer(t, login.Config{Refresh: &refreshing, TokenFields: append(tokens, login.TokenField{Field: "account", Path: "account"})})
	var got map[string]any
	if err := json.Unmarshal(r.Schema(), &got); err != nil {
		t.Fatal(err)
	}
	text := map[string]any{"type": []any{"string", "number", "boolean"}}
	token := map[string]any{"type": []any{"string", "null"}, "writeOnly": true}
	want := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": []any{"password", "user"},
		"properties": map[string]any{"user": text, "password": text, "access_token": token, "refresh_token": token},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestNewCredentialsAreCheckedAsFarAsTheyGo(t *testing.T) {
	r := newRenewer(t, login.Config{Refresh: &refreshing, TokenFields: tokens, ExpiresIn: "ttl"})
	const user = `"user":"ann","password":"secret-1"`
	for rest, want := range map[string]string{
		``: "",
		`,"access_token":"a","refresh_token":null,"expires_at":1772366400`: "",
		`,"access_token":1`:    `"access_token" is not a token`,
		`,"refresh_token":[]`:  `"refresh_token" is not a token`,
		`,"access_token":"\n"`: `"access_token" is not a token`,
		`,"expires_at":"soon"`: `"expires_at" is not a time`,
	} {
		err := r.CheckNew(newCredential(t, `{`+user+rest+`}`))
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", rest, err)
		}
	}
	if err := r.CheckNew(newCredential(t, `{"user":"ann"}`)); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("without a password: %v", err)
	}
}

func TestServersAreThoseOfTheConfiguration(t *testing.T) {
	r := newRenewer(t, login.Config{
		Requests: []login.Request{{Method: "GET", URL: "https://api.example:8443/{env.KEY}/nonce"}, userAndPassword, userAndPassword, {URL: "https://api.example/{credential.user}"}},
		Refresh:  &refreshing, TokenFields: tokens,
	})
	if got := r.Servers(); !reflect.DeepEqual(got, []string{"https://api.example:8443", "https://api.example"}) {
		t.Errorf("got %v", got)
	}
}
