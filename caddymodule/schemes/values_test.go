package schemes_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// JSON can hold what the tokens of a Caddyfile cannot, and the environment anything.
func TestProvisionRefuses(t *testing.T) {
	t.Setenv("NEWLINE", "a\r\nInjected: b")
	t.Setenv("LONG", strings.Repeat("a", 16<<10+1))
	t.Setenv("BYTES", "\xff")
	t.Setenv("COLON", "a:b")
	t.Setenv("QUERY", "a?b")
	t.Setenv("SPACE", "a b")
	t.Setenv("EMPTY", "")
	const x = "{credential.x}"
	for name, test := range map[string]struct{ scheme, settings, want string }{
		"header without a value":       {"header", `{"name": "X-Key"}`, "header X-Key: a secret is not written"},
		"header with a secret":         {"header", `{"name": "X-Key", "value": "hunter2"}`, "a secret is not written"},
		"header with a newline":        {"header", `{"name": "X-Key", "value": "{env.NEWLINE}"}`, "has a control character in it"},
		"header with a literal NUL":    {"header", `{"name": "X-Key", "value": "a\u0000` + x + `"}`, "has a control character in it"},
		"header that is too long":      {"header", `{"name": "X-Key", "value": "{env.LONG}"}`, "longer than 16384 bytes"},
		"header with bytes":            {"header", `{"name": "X-Key", "value": "{env.BYTES}"}`, "is not UTF-8"},
		"header of nothing":            {"header", `{"name": "X-Key", "value": "{env.EMPTY}"}`, "placeholder {env.EMPTY} has no value"},
		"header of a request's":        {"header", `{"name": "X-Key", "value": "{http.request.host}"}`, "cannot be resolved here"},
		"query without a name":         {"query", `{"value": "` + x + `"}`, `name of query parameter "" is empty`},
		"query without a value":        {"query", `{"name": "q"}`, "query q: a secret is not written"},
		"query with bytes":             {"query", `{"name": "q", "value": "{env.BYTES}"}`, "is not UTF-8"},
		"query that is too long":       {"query", `{"name": "q", "value": "{env.LONG}"}`, "longer than 16384 bytes"},
		"basic without a user":         {"basic", `{"password": "` + x + `"}`, "basic has no user name"},
		"basic with a secret":          {"basic", `{"user": "a", "password": "hunter2"}`, "a secret is not written"},
		"basic, user with a colon":     {"basic", `{"user": "a:b", "password": "` + x + `"}`, "user name of basic: text of the template has a colon"},
		"basic, user from elsewhere":   {"basic", `{"user": "{env.COLON}", "password": "` + x + `"}`, "has a colon"},
		"basic, user with a newline":   {"basic", `{"user": "{env.NEWLINE}", "password": "` + x + `"}`, "user name of basic"},
		"basic, password with a NUL":   {"basic", `{"user": "` + x + `", "password": "a\u0000b"}`, "password of basic: text of the template has a control character"},
		"basic, password with bytes":   {"basic", `{"user": "` + x + `", "password": "{env.BYTES}"}`, "is not UTF-8"},
		"basic, unclosed user":         {"basic", `{"user": "{credential.x", "password": ""}`, "basic: user: unclosed placeholder"},
		"basic, unclosed password":     {"basic", `{"user": "a", "password": "{credential.x"}`, "basic: password: unclosed placeholder"},
		"cookie without a name":        {"cookie", `{"value": "` + x + `"}`, `"" is not the name of a cookie`},
		"cookie's name with a space":   {"cookie", `{"name": "a b", "value": "` + x + `"}`, "is not the name of a cookie"},
		"cookie's name with an equals": {"cookie", `{"name": "a=b", "value": "` + x + `"}`, "is not the name of a cookie"},
		"cookie's name and another":    {"cookie", `{"name": "a;b", "value": "` + x + `"}`, "is not the name of a cookie"},
		"cookie without a value":       {"cookie", `{"name": "a"}`, "cookie a: a secret is not written"},
		"cookie with a semicolon":      {"cookie", `{"name": "a", "value": "b; c=` + x + `"}`, "cannot stand in a cookie"},
		"cookie with a newline":        {"cookie", `{"name": "a", "value": "{env.NEWLINE}"}`, "cannot stand in a cookie"},
		"cookie that is too long":      {"cookie", `{"name": "a", "value": "{env.LONG}"}`, "longer than 16384 bytes"},
		"base_path without a path":     {"base_path", `{}`, "base_path does not begin with a slash"},
		"base_path without a slash":    {"base_path", `{"path": "v1/` + x + `"}`, "base_path does not begin with a slash"},
		"base_path of a credential":    {"base_path", `{"path": "` + x + `"}`, "base_path does not begin with a slash"},
		"base_path with a query":       {"base_path", `{"path": "/v1?a=` + x + `"}`, "base_path: text of the template is not part of a path"},
		"base_path with a fragment":    {"base_path", `{"path": "/v1#` + x + `"}`, "is not part of a path"},
		"base_path, broken escape":     {"base_path", `{"path": "/v1/%2` + x + `"}`, "is not part of a path"},
		"base_path from elsewhere":     {"base_path", `{"path": "/{env.QUERY}"}`, "is not part of a path"},
		"base_path with a space":       {"base_path", `{"path": "/{env.SPACE}"}`, "is not part of a path"},
		"base_path beyond ASCII":       {"base_path", `{"path": "/é"}`, "is not part of a path"},
		"base_path with a newline":     {"base_path", `{"path": "/{env.NEWLINE}"}`, "is not part of a path"},
		"base_path that is too long":   {"base_path", `{"path": "/{env.LONG}"}`, "longer than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			m := registered(t, test.scheme)
			if err := caddy.StrictUnmarshalJSON([]byte(test.settings), m); err != nil {
				t.Fatal(err)
			}
			err := m.Provision(caddy.Context{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "Injected") {
				t.Errorf("the error quotes the value: %v", err)
			}
		})
	}
}

func TestBindRefusesWhatCannotBeSent(t *testing.T) {
	const (
		header      = "header X-Key {credential.x}"
		mixedHeader = `header X-Key "a {credential.ok} {credential.x}"`
		user        = "basic {credential.x} p"
		password    = "basic u {credential.x}"
		query       = "query q {credential.x}"
		cookie      = "cookie session {credential.x}"
		mixedCookie = "cookie session {credential.ok}.{credential.x}"
		path        = "base_path /v1/{credential.x}"
		mixedPath   = "base_path /v1/a.{credential.ok}{credential.x}/b"
	)
	long := `"` + strings.Repeat("a", 16<<10+1) + `"`
	const (
		control   = "has a control character in it"
		tooLong   = "makes a value longer than 16384 bytes"
		noCookie  = "has a character in it that cannot stand in a cookie"
		noURL     = "has a character in it that cannot stand in a URL"
		noSegment = "cannot stand in a URL"
	)
	for name, test := range map[string]struct{ scheme, value, reason string }{
		"CRLF in a header":       {header, `"hunter2\r\nX-Other: 1"`, control},
		"LF at a header's end":   {header, `"hunter2\n"`, control},
		"NUL in a header":        {header, `"hunter2\u0000"`, control},
		"DEL in a header":        {header, `"hunter2\u007f"`, control},
		"LF in a mixed header":   {mixedHeader, `"hunter2\n"`, control},
		"bytes in a header":      {header, "\"hunter2\xff\"", "is not UTF-8"},
		"blank header":           {header, `"  "`, "is empty"},
		"empty header":           {header, `""`, "is empty"},
		"long header":            {header, long, tooLong},
		"long mixed header":      {mixedHeader, long, tooLong},
		"object in a header":     {header, `{"hunter2": 1}`, "is not a string, number or boolean"},
		"colon in a user name":   {user, `"hunter2:x"`, "has a colon in it, which a user name cannot have"},
		"empty user name":        {user, `""`, "is empty"},
		"newline in a user name": {user, `"hunter2\n"`, control},
		"bytes in a user name":   {user, "\"hunter2\xff\"", "is not UTF-8"},
		"newline in a password":  {password, `"hunter2\n"`, control},
		"DEL in a password":      {password, `"hunter2\u007f"`, control},
		"long password":          {password, long, tooLong},
		"bytes in a query":       {query, "\"hunter2\xff\"", "is not UTF-8"},
		"empty query":            {query, `""`, "is empty"},
		"long query":             {query, long, tooLong},

		"semicolon in a cookie":     {cookie, `"hunter2;admin=1"`, noCookie},
		"comma in a cookie":         {cookie, `"hunter2,x"`, noCookie},
		"space in a cookie":         {cookie, `"hunter2 x"`, noCookie},
		"backslash in a cookie":     {cookie, `"hunter2\\x"`, noCookie},
		"quote in a cookie":         {cookie, `"hunter2\"x"`, noCookie},
		"one quote around a cookie": {cookie, `"\"hunter2"`, noCookie},
		"quotes in a cookie":        {cookie, `"\"hunter2\"x\""`, noCookie},
		"quotes in a mixed cookie":  {mixedCookie, `"\"hunter2\""`, noCookie},
		"quotes around nothing":     {cookie, `"\"\""`, noCookie},
		"newline in a cookie":       {cookie, `"hunter2\r\nX-Other: 1"`, noCookie},
		"DEL in a cookie":           {cookie, `"hunter2\u007f"`, noCookie},
		"no ASCII in a cookie":      {cookie, `"hunter2é"`, noCookie},
		"empty cookie":              {cookie, `""`, "is empty"},
		"long cookie":               {cookie, long, tooLong},
		"semicolon in a mixed one":  {mixedCookie, `"hunter2;admin=1"`, noCookie},

		"slash in a path":        {path, `"hunter2/x"`, noURL},
		"escaped slash":          {path, `"hunter2%2fx"`, noURL},
		"climbing path":          {path, `"../hunter2"`, noURL},
		"backslash in a path":    {path, `"hunter2\\x"`, noURL},
		"dot segment":            {path, `".."`, noSegment},
		"one dot":                {path, `"."`, noSegment},
		"dots in a mixed path":   {mixedPath, `".."`, noSegment},
		"query in a path":        {path, `"hunter2?x"`, noURL},
		"fragment in a path":     {path, `"hunter2#x"`, noURL},
		"semicolon in a path":    {path, `"hunter2;x"`, noURL},
		"newline in a path":      {path, `"hunter2\n"`, noURL},
		"no ASCII in a path":     {path, `"hunter2é"`, noURL},
		"empty segment":          {path, `""`, "is empty"},
		"long path":              {path, long, tooLong},
		"null in a path":         {path, `null`, "is null"},
		"slash in a mixed path":  {mixedPath, `"hunter2/x"`, noURL},
		"object for a path's id": {path, `["hunter2"]`, "is not a string, number or boolean"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := read(t, test.scheme).Bind(newCredential(t, `{"ok": "ok", "x": `+test.value+`}`))
			var field *credential.FieldError
			if a != nil || !errors.As(err, &field) || field.Path != "x" || field.Reason != test.reason {
				t.Fatalf("got %v, %v; want %q", a, err, test.reason)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error quotes the value: %v", err)
			}
		})
	}
}

func TestBasicIsEncodedAsRFC7617Says(t *testing.T) {
	for document, want := range map[string]string{
		`{"u": "Aladdin", "p": "open sesame"}`: "Aladdin:open sesame",
		`{"u": "test", "p": "123\u00a3"}`:      "test:123\u00a3",
		`{"u": "sk_live", "p": ""}`:            "sk_live:",
		`{"u": "u", "p": "a:b:c"}`:             "u:a:b:c",
		`{"u": 42, "p": true}`:                 "42:true",
	} {
		req := &http.Request{Header: http.Header{"Authorization": {"client's"}}}
		apply(t, req, document, "basic {credential.u} {credential.p}")
		want = "Basic " + base64.StdEncoding.EncodeToString([]byte(want))
		if got := req.Header["Authorization"]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", document, got, want)
		}
	}
}

// Services that take an API key for the user name want no password.
func TestBasicWithoutAPassword(t *testing.T) {
	req := newRequest(t, "https://api.example/")
	apply(t, req, `{"key": "sk_live"}`, `basic {credential.key} ""`)
	if user, password, ok := req.BasicAuth(); !ok || user != "sk_live" || password != "" {
		t.Errorf("got %q, %q", user, password)
	}
}

func TestSchemesAreAppliedSideBySide(t *testing.T) {
	req := newRequest(t, "https://api.example/invoices?page=2")
	req.Header.Set("Accept", "text/plain")
	apply(t, req, `{"key": "a&b;c=d +%\n", "id": 42, "token": "t"}`,
		"header x-api-key {credential.token}", `header Authorization "Token token={credential.token}"`,
		"query account {credential.id}", `query "api key" {credential.key}`)
	if got := req.Header; len(got) != 3 || got.Get("X-Api-Key") != "t" || got.Get("Authorization") != "Token token=t" || got.Get("Accept") != "text/plain" {
		t.Errorf("got %v", got)
	}
	if want := "https://api.example/invoices?page=2&account=42&api+key=a%26b%3Bc%3Dd+%2B%25%0A"; req.URL.String() != want {
		t.Errorf("got %s, want %s", req.URL, want)
	}
}

// What one request's transport does to its header must not reach another's.
func TestRequestsShareNothing(t *testing.T) {
	for _, line := range []string{"header A {credential.k}", "basic {credential.k} p", "cookie A {credential.k}"} {
		a := bind(t, read(t, line), `{"k": "ours"}`)
		one, two := newRequest(t, "https://api.example/"), newRequest(t, "https://api.example/")
		for _, req := range []*http.Request{one, two} {
			if err := a.Authenticate(req, nil); err != nil {
				t.Fatal(err)
			}
		}
		for name := range one.Header {
			want := two.Header[name][0]
			one.Header[name][0] = "changed"
			if two.Header[name][0] != want {
				t.Errorf("%s: got %v", line, two.Header)
			}
		}
	}
}

func BenchmarkBind(b *testing.B) {
	c := newCredential(b, `{"access_token": "`+strings.Repeat("a", 900)+`", "refresh_token": "r", "expires_at": "2030-01-01T00:00:00Z", "account": {"id": 42}}`)
	for name, lines := range map[string][]string{
		"bearer":           {`header Authorization "Bearer {credential.access_token}"`},
		"header and query": {"header X-Api-Key {credential.access_token}", "query account {credential.account.id}"},
		"basic":            {"basic {credential.account.id} {credential.refresh_token}"},
		"cookie":           {"cookie session {credential.access_token}"},
		"base path":        {"base_path /v1/{credential.account.id}"},
	} {
		var all []module
		for _, line := range lines {
			all = append(all, read(b, line))
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, s := range all {
					if _, err := s.Bind(c); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for name, line := range map[string]string{
		"bearer":    `header Authorization "Bearer {credential.k}"`,
		"query":     "query account {credential.k}",
		"cookie":    "cookie account {credential.k}",
		"base path": "base_path /v1/{credential.k}",
	} {
		a := bind(b, read(b, line), `{"k": "0123456789abcdef"}`)
		req := newRequest(b, "https://api.example/")
		for _, key := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Content-Type", "Authorization"} {
			req.Header[key] = []string{"x"}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req.URL.Path, req.URL.RawPath, req.URL.RawQuery = "/invoices", "", "page=3&per_page=100&sort=asc"
				delete(req.Header, "Cookie")
				if err := a.Authenticate(req, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
