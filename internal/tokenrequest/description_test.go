package tokenrequest_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestDescriptionsHoldNoSecrets(t *testing.T) {
	const secret = "p+w d/é?1"
	p := tokenrequest.Parameters{URL: "https://as.example/t?key=querykey", ClientID: "client", ClientSecret: secret, AuthStyle: oauth2.AuthStyleInHeader, Params: url.Values{"assertion": {"claims"}}}
	req, err := tokenrequest.GrantRequest(p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"rt 1"}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"The refresh_token has expired":                                  "The refresh_token has expired",
		"Refresh token rt 1 is unknown":                                  "Refresh token … is unknown",
		"Refresh token rt+1 or rt%201 is unknown":                        "Refresh token … or … is unknown",
		"Client client with " + secret:                                   "Client … with …",
		"It was " + url.QueryEscape(secret):                              "It was …",
		"It was " + base64.StdEncoding.EncodeToString([]byte(secret)):    "It was …",
		"It was " + base64.RawURLEncoding.EncodeToString([]byte(secret)): "It was …",
		"It was " + req.Header.Get("Authorization"):                      "It was Basic …",
		"Bad claims for querykey":                                        "Bad … for …",
		"Token r\x00t\u200b 1\r\n is unknown":                            "Token … is unknown",
		"Token abcdefghij0123456789 was reused":                          "Token … was reused",
		"Token abcdefghij012345678 was reused":                           "Token abcdefghij012345678 was reused",
		"Antidisestablishmentarianism-of-users 2025-01-02T03:04:05":      "Antidisestablishmentarianism-of-users 2025-01-02T03:04:05",
		"Bad \xff UTF-8, und schöne Grüße":                               "Bad  UTF-8, und schöne Grüße",
		strings.Repeat("é", 150):                                         strings.Repeat("é", 100),
		strings.Repeat("x", 199) + "é":                                   strings.Repeat("x", 199),
	} {
		r := (&tokenrequest.Response{Status: 400, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(url.Values{"error": {"invalid_grant"}, "error_description": {text}}.Encode())}).AnswerTo(req)
		if _, _, e := r.TokenResponse(); e.Description != want {
			t.Errorf("%q: got %q, want %q", text, e.Description, want)
		}
	}
}

// A scheme's own request may have its secrets in any part.
func TestDescriptionsHoldNothingOfASchemesOwnRequest(t *testing.T) {
	answer := func(req *http.Request, description string) string {
		t.Helper()
		r := (&tokenrequest.Response{Status: 400, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(url.Values{"error": {"invalid_grant"}, "error_description": {description}}.Encode())}).AnswerTo(req)
		_, _, e := r.TokenResponse()
		return e.Description
	}
	const said = "No hunter2 of user 4711 by key-1 for Token tok-1 and sess-1"
	for body, want := range map[[2]string]string{
		{"application/json", `{"a":{"b":["hunter2"]},"pin":4711}`}:               "No … of user … by … for Token … and …",
		{"application/x-www-form-urlencoded", "a=hunter2&pin=4711"}:              "No … of user … by … for Token … and …",
		{"application/json; charset=utf-8", `{"a":{"b":["hunter2"]},"pin":4711`}: "",
		{"text/xml", "<a>hunter2</a>"}:                                           "",
		{"", `{"a":"hunter2"}`}:                                                  "",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://as.example/login", strings.NewReader(body[1]))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {body[0]}, "X-Api-Key": {"key-1"}, "Authorization": {"Token tok-1"}, "Cookie": {"a=1; session=sess-1"}}
		if body[0] == "" {
			delete(req.Header, "Content-Type")
		}
		if got := answer(req, said); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// FuzzDescription holds that whatever an endpoint says, nothing that was sent is told,
// in none of the ways to write it.
func FuzzDescription(f *testing.F) {
	f.Add("Token s3cret of client", "s3cret", "client")
	f.Add("a…b", "…abc", "abc…")
	f.Add("s3cs3cretret", "s3cret", "\xff\x00abc")
	f.Add(strings.Repeat("abcd", 100)+"e", "abcde", "abcd")
	f.Fuzz(func(t *testing.T, text, one, two string) {
		for _, said := range []string{text, text + one + two, one[:len(one)/2] + two + one[len(one)/2:], url.QueryEscape(one) + text, base64.StdEncoding.EncodeToString([]byte(two)) + text} {
			got := tokenrequest.CleanDescription(said, []string{one, two})
			if len(got) > 200 || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q", got)
			}
			for _, secret := range []string{one, two} {
				for _, form := range []string{secret, url.QueryEscape(secret), base64.RawStdEncoding.EncodeToString([]byte(secret))} {
					// A part of a character is no secret: "…" has some that others have.
					if len(form) >= 4 && utf8.ValidString(form) && strings.Contains(got, form) {
						t.Fatalf("%q holds %q", got, form)
					}
				}
			}
		}
	})
}
