package login_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// refreshing is a request that uses a refresh token up, and tokens are where it is kept.
var (
	refreshing = login.Request{URL: "https://api.example/refresh", JSON: fields{"token": "{credential.refresh_token}"}}
	tokens     = []login.TokenField{{Field: "access_token", Path: "data.access"}, {Field: "refresh_token", Path: "data.refresh"}}
)

func TestMergeTakesTokensOutOfAnswers(t *testing.T) {
	one := func(f login.TokenField) login.Config {
		f.Field = "access_token"
		return login.Config{TokenFields: []login.TokenField{f}}
	}
	const stored = `{"user":"ann","expires_at":"old","access_token":"a1"}`
	for name, c := range map[string]struct {
		config login.Config
		answer scheme.Response
		want   string
	}{
		"the default": {answer: answered(200, "application/json", `{"access_token":"a2","x":1}`),
			want: `{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"nested, with seconds": {login.Config{TokenFields: []login.TokenField{{Field: "access_token", Path: "data.0.token"}, {Field: "account.id", Path: "data.0.id"}}, ExpiresIn: "data.0.ttl"},
			answered(201, "application/json", `{"data":[{"token":"a2","ttl":"60","id":12345678901234567890}]}`),
			`{"user":"ann","expires_at":"2026-03-01T11:01:00Z","access_token":"a2","account":{"id":"12345678901234567890"}}`},
		"a lifetime": {login.Config{Lifetime: 24 * time.Hour}, answered(200, "application/json", `{"access_token":"a2"}`),
			`{"user":"ann","expires_at":"2026-03-02T11:00:00Z","access_token":"a2"}`},
		"a time in milliseconds": {login.Config{ExpiresAt: "until"}, answered(200, "application/json", `{"access_token":"a2","until":1772366400000}`),
			`{"user":"ann","expires_at":"2026-03-01T12:00:00Z","access_token":"a2"}`},
		"a time with a zone": {login.Config{ExpiresAt: "until"}, answered(200, "application/json", `{"access_token":"a2","until":"2026-03-01T14:00:00+02:00"}`),
			`{"user":"ann","expires_at":"2026-03-01T12:00:00Z","access_token":"a2"}`},
		"no time any more": {login.Config{ExpiresAt: "until"}, answered(200, "application/json", `{"access_token":"a2","until":"tomorrow"}`),
			`{"user":"ann","access_token":"a2"}`},
		"a time that has passed": {login.Config{ExpiresAt: "until"}, answered(200, "application/json", `{"access_token":"a2","until":1700000000}`),
			`{"user":"ann","access_token":"a2"}`},
		"a number": {answer: answered(200, "application/json", `{"access_token":12345678901234567890}`),
			want: `{"user":"ann","expires_at":"old","access_token":"12345678901234567890"}`},
		"a form": {answer: answered(200, "application/x-www-form-urlencoded", `access_token=a2&x=1`),
			want: `{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"text": {one(login.TokenField{Path: "@this"}), answered(200, "text/html", "\xef\xbb\xbf a2=\r\n"),
			`{"user":"ann","expires_at":"old","access_token":"a2="}`},
		"plain text": {one(login.TokenField{Path: "@this"}), answered(200, "text/plain; charset=utf-8", "a2=\n"),
			`{"user":"ann","expires_at":"old","access_token":"a2="}`},
		"JSON as plain text": {answer: answered(200, "text/plain", `{"access_token":"a2"}`),
			want: `{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"a JSON string": {one(login.TokenField{Path: "@this"}), answered(200, "application/json", `"a2"`),
			`{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"a JSON array": {one(login.TokenField{Path: "0.t"}), answered(200, "application/json", `[{"t":"a2"}]`),
			`{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"the first header field": {one(login.TokenField{Header: "x-auth-token"}), answered(204, "", ``, "X-Auth-Token", "a2", "X-Auth-Token", "a3"),
			`{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"a header field with a word before it": {one(login.TokenField{Header: "Authorization"}), answered(200, "text/plain", `welcome home`, "Authorization", "Bearer a2"),
			`{"user":"ann","expires_at":"old","access_token":"Bearer a2"}`},
		"the last cookie": {one(login.TokenField{Cookie: "SESSION"}), answered(200, "text/html", `<html>`, "Set-Cookie", "SESSION=; Max-Age=0", "Set-Cookie", "session=x", "Set-Cookie", "SESSION=a2; Path=/; HttpOnly", "Set-Cookie", "SESSION=gone; Max-Age=-1"),
			`{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"an error beside the token": {answer: answered(200, "application/json", `{"access_token":"a2","error":"none"}`),
			want: `{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"a refresh that brings no other": {login.Config{Refresh: &refreshing, TokenFields: tokens}, answered(200, "application/json", `{"data":{"access":"a2"}}`),
			`{"user":"ann","expires_at":"old","access_token":"a2"}`},
		"both tokens": {login.Config{Refresh: &refreshing, TokenFields: tokens}, answered(200, "application/json", `{"data":{"access":"a2","refresh":"r2"}}`),
			`{"user":"ann","expires_at":"old","access_token":"a2","refresh_token":"r2"}`},
	} {
		got, err := newRenewer(t, c.config).Merge([]byte(stored), c.answer)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", name, got, err, c.want)
		}
	}
}

func TestMergeOfAnswersWithoutAToken(t *testing.T) {
	page := answered(200, "text/html", "<html> hunter2")
	broken := answered(200, "application/json", `{"access_token":"hunt`)
	broken.Truncated = true
	text := login.Config{TokenFields: []login.TokenField{{Field: "t", Path: "@this"}}}
	for name, c := range map[string]struct {
		config login.Config
		answer scheme.Response
		want   string // of the error
	}{
		"none":          {answer: answered(200, "application/json", `{"message":"hunter2"}`), want: "without access_token in it"},
		"null":          {answer: answered(200, "application/json", `{"access_token":null}`), want: "without access_token in it"},
		"empty":         {answer: answered(200, "application/json", `{"access_token":""}`), want: "access_token is empty"},
		"composite":     {answer: answered(200, "application/json", `{"access_token":{"hunter2":1}}`), want: "access_token is missing or not a string"},
		"a page":        {config: text, answer: page, want: "@this is empty or not visible ASCII"},
		"nothing":       {config: text, answer: answered(204, "", ""), want: "without @this in it"},
		"an object":     {config: text, answer: answered(200, "application/json", `{"hunter2":1}`), want: "@this is missing or not a string"},
		"cut":           {answer: broken, want: "cannot be read"},
		"no header":     {config: login.Config{TokenFields: []login.TokenField{{Field: "t", Header: "X-T"}}}, answer: page, want: "without header X-T in it"},
		"no cookie":     {config: login.Config{TokenFields: []login.TokenField{{Field: "t", Cookie: "T"}}}, answer: page, want: "without cookie T in it"},
		"not the other": {config: login.Config{TokenFields: []login.TokenField{{Field: "t", Path: "t"}, {Field: "csrf", Header: "X-CSRF"}}}, answer: answered(200, "application/json", `{"t":"hunter2"}`), want: "without header X-CSRF in it"},
	} {
		got, err := newRenewer(t, c.config).Merge([]byte(`{}`), c.answer)
		if got != nil || !errors.Is(err, login.ErrAnswer) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}

// The refresh token that an answer brings was paid for with the one before.
func TestMergeKeepsANewRefreshTokenInAnyCase(t *testing.T) {
	r := newRenewer(t, login.Config{Refresh: &refreshing, TokenFields: tokens})
	for _, body := range []string{`{"data":{"refresh":"r2"}}`, `{"data":{"refresh":"r2","access":" "}}`} {
		got, err := r.Merge([]byte(`{"access_token":"a1","refresh_token":"r1"}`), answered(200, "application/json", body))
		if string(got) != `{"access_token":"a1","refresh_token":"r2"}` || !errors.Is(err, login.ErrAnswer) {
			t.Errorf("%s: got %s, %v", body, got, err)
		}
	}
}

func TestMergeTellsWhatARefusalMeans(t *testing.T) {
	busy := answered(429, "", "", "Retry-After", "30")
	for name, c := range map[string]struct {
		answer scheme.Response
		want   scheme.RefusedError
	}{
		"wrong password":   {answered(401, "application/json", `{"message":"hunter2"}`), scheme.RefusedError{Permanent: true}},
		"OAuth's error":    {answered(400, "application/json", `{"error":"invalid_grant"}`), scheme.RefusedError{Code: "invalid_grant", Permanent: true}},
		"their own error":  {answered(403, "application/json", `{"error":"hunter2"}`), scheme.RefusedError{Code: "unknown_error", Permanent: true}},
		"error with a 200": {answered(200, "application/json", `{"error":"hunter2"}`), scheme.RefusedError{Code: "unknown_error", Permanent: true}},
		"locked":           {answered(423, "", ""), scheme.RefusedError{Permanent: true}},
		"invalid":          {answered(422, "", ""), scheme.RefusedError{Permanent: true}},
		"busy":             {busy, scheme.RefusedError{Unspent: true, RetryAfter: 30 * time.Second}},
		"down":             {answered(503, "", ""), scheme.RefusedError{Unspent: true}},
		"somewhere else":   {answered(302, "", "", "Location", "/", "Set-Cookie", "SESSION=x"), scheme.RefusedError{Unspent: true}},
		"not found":        {answered(404, "", ""), scheme.RefusedError{Unspent: true}},
		"broken":           {answered(500, "", "hunter2"), scheme.RefusedError{}},
	} {
		got, err := newRenewer(t, login.Config{}).Merge([]byte(`{"access_token":"a1"}`), c.answer)
		refused, ok := errors.AsType[*scheme.RefusedError](err)
		if got != nil || !ok || *refused != c.want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %s, %+v", name, got, err)
		}
	}
}

// A refresh token that is worth nothing goes, and the user and the password are still there.
func TestMergeLeavesARefusedRefreshTokenOut(t *testing.T) {
	r := newRenewer(t, login.Config{Refresh: &refreshing, TokenFields: tokens})
	got, err := r.Merge([]byte(`{"user":"ann","refresh_token":"r1","access_token":"a1"}`), answered(401, "", ""))
	if refused, ok := errors.AsType[*scheme.RefusedError](err); !ok || !refused.Permanent || string(got) != `{"user":"ann","access_token":"a1"}` {
		t.Errorf("got %s, %v", got, err)
	}
	for name, answer := range map[string]scheme.Response{"busy": answered(429, "", ""), "broken": answered(500, "", "")} {
		if got, _ := r.Merge([]byte(`{"refresh_token":"r1"}`), answer); got != nil {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got, _ := r.Merge([]byte(`{}`), answered(401, "", "")); got != nil {
		t.Errorf("a login: got %s", got)
	}
}
