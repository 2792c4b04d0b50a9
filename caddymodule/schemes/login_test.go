package schemes_test

import (
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestLoginReadsAllItsSubdirectives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := read(t, strings.ReplaceAll(`login {
		request GET {env.LOGIN_URL}/challenge?user={credential.user} {
			header X-App app
			header X-Key {env.KEY}
		}
		request https://{credential.region}.login.example/session {
			json user.name  {credential.user}
			json user.proof {step1.nonce}
			json remember   true
			basic {credential.user} {credential.password}
		}
		refresh PUT https://login.example/refresh {
			form refresh_token {credential.refresh_token}
		}
		token_field access_token  data.token
		token_field refresh_token header X-Refresh
		token_field session       cookie SESSION
		expires_in 24h
		token_hosts *.login.example login.example
		token_hosts unknown.invalid
		tls_ca FILE
		tls_client_cert FILE
		tls_client_key FILE
		refresh_ahead 5m
		rotation grace 30s
		takeover never
	}`, "FILE", file)).(*schemes.Login)
	want := schemes.Login{
		Requests: []login.Request{
			{Method: "GET", URL: "{env.LOGIN_URL}/challenge?user={credential.user}", Header: map[string]string{"X-App": "app", "X-Key": "{env.KEY}"}},
			{
				URL:  "https://{credential.region}.login.example/session",
				JSON: map[string]string{"user.name": "{credential.user}", "user.proof": "{step1.nonce}", "remember": "true"},
				User: "{credential.user}", Password: "{credential.password}",
			},
		},
		Refresh: &login.Request{Method: "PUT", URL: "https://login.example/refresh", Form: map[string]string{"refresh_token": "{credential.refresh_token}"}},
		TokenFields: []login.TokenField{
			{Field: "access_token", Path: "data.token"}, {Field: "refresh_token", Header: "X-Refresh"}, {Field: "session", Cookie: "SESSION"},
		},
		ExpiresIn: "24h", TokenHosts: []string{"*.login.example", "login.example", "unknown.invalid"},
		Files:    tlsfiles.Files{TLSCA: file, TLSClientCert: file, TLSClientKey: file},
		Spending: schemes.Spending{RefreshAhead: caddy.Duration(5 * time.Minute), Rotation: "grace", RotationGrace: caddy.Duration(30 * time.Second), Takeover: -1},
	}
	if got.Renewer == nil {
		t.Error("it is not ready to be asked when a Caddyfile is adapted")
	}
	got.Renewer = nil
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again schemes.Login
	if err := caddy.StrictUnmarshalJSON(text, &again); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%v: from JSON it is %+v", err, again)
	}
}

func TestLoginSubdirectivesThatAreWrong(t *testing.T) {
	const user = "request https://login.example {\nform user {credential.user}\n}\n"
	for lines, want := range map[string]string{
		"":                                      "login: request is missing",
		"x\n":                                   "unrecognized subdirective 'x' of login",
		"request":                               "wrong argument count",
		"request http://login.example\n":        "request: must be https, unless the host is a loopback address, at Testfile:2",
		"request TRACE https://login.example\n": "'TRACE' is not one of the methods",
		"request https://login.example {\n\n\nform password hunter2\n}\n":   "form password: a secret is not written into the configuration: use {credential.<path>}, {env.NAME} or {file.PATH}, at Testfile:5",
		"request https://login.example {\nbasic ann hunter2\n}\n":           "basic: a secret is not written",
		"request https://login.example {\nform a {env.A}\nform a b\n}\n":    "form a is given twice",
		"request https://login.example {\nform a {env.A}\njson a b\n}\n":    "form, json and body exclude each other, at Testfile:4",
		"request https://login.example {\nform a {step1.x}\n}\n":            "{step1.…} is not the answer to a request before this one, at Testfile:3",
		"request https://login.example {\nform a {http.request.host}\n}\n":  "placeholder {http.request.host} cannot be resolved here",
		"request https://login.example {\nheader Host {env.A}\n}\n":         "header Host cannot be set",
		"request https://login.example {\nquery a b\n}\n":                   "unrecognized subdirective 'query' of request",
		"request https://login.example {\nbody {env.A}\n}\n":                "body needs header Content-Type",
		"request https://login.example\n":                                   "request: a secret is not written",
		"request https://{credential.host}/login\n":                         "needs token_hosts",
		user + "refresh https://login.example {\nform a {env.A}\n}\n":       "refresh uses none of the token_fields",
		user + "refresh https://login.example\nrefresh https://a.example\n": "refresh is given twice",
		user + "token_field a\n":                                            "wrong argument count",
		user + "token_field a query b\n":                                    "what is neither header nor cookie is one path",
		user + "token_field _upstream_auth.x b\n":                           "_upstream_auth is reserved, at Testfile:5",
		user + "token_field a b|@c\n":                                       "unknown modifier @c",
		user + "expires_in 3600\n":                                          "expires_in 3600 has no unit: 3600s are seconds, at Testfile:5",
		user + "expires_in 0s\n":                                            "expires_in 0s is not a lifetime",
		user + "expires_in a\nexpires_at b\n":                               "exclude each other",
		user + "token_hosts a/b\n":                                          "token_hosts: \"a/b\" is not a host name",
		user + "rotation none\n":                                            "rotation is of a token_field that is used up",
		user + "rotation none\nrotation none\n":                             "rotation is given twice",
		user + "tls_ca /absent/file\n":                                      "tls_ca: open /absent/file",
		user + "tls_client_cert {env.CERT}\n":                               "tls_client_cert and tls_client_key go together",
		user + "token_field expires_at b\nexpires_in 1h\n":                  "overlap",
	} {
		_, err := unmarshal(t, "login {\n"+lines+"\n}")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

func TestLoginIsProvisionedWithTheEnvironment(t *testing.T) {
	t.Setenv("LOGIN", "https://login.example")
	t.Setenv("KEY", "s3cret")
	m := provision(t, `login {
		request {env.LOGIN}/session {
			header X-Key {env.KEY}
			form user {credential.user}
		}
		expires_in data.ttl
		refresh_ahead 5m
	}`).(*schemes.Login)
	req, _, err := m.Request(t.Context(), newCredential(t, `{"user":"ann"}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	if form, _ := url.ParseQuery(string(body)); req.URL.String() != "https://login.example/session" || req.Header.Get("X-Key") != "s3cret" || form.Get("user") != "ann" {
		t.Errorf("asked %s with %v", req.URL, form)
	}
	if got := scheme.RenewalOf(m).RefreshAhead; got != 5*time.Minute {
		t.Errorf("refreshed %v ahead", got)
	}
	t.Setenv("LOGIN", "http://login.example")
	for lines, want := range map[string]string{
		"request {env.LOGIN}/ {\nform user {credential.user}\n}":                  "login: request: must be https",
		"request https://login.example/ {\nform user {env.ABSENT}\n}":             "placeholder {env.ABSENT} has no value",
		"request https://login.example/ {\nform u {env.KEY}\n}\ntls_ca {env.KEY}": "login: tls_ca: ",
	} {
		if err := read(t, "login {\n"+lines+"\n}").Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

// Its token is sent by others, or as a bearer token.
func TestLoginLeavesRequestsAsTheyAre(t *testing.T) {
	req := newRequest(t, "https://api.example/a?b")
	apply(t, req, `{"access_token": "a"}`, "login {\nrequest https://login.example {\nform user {credential.user}\n}\n}")
	if len(req.Header) != 0 || req.URL.String() != "https://api.example/a?b" {
		t.Errorf("sent to %s with %v", req.URL, req.Header)
	}
}
