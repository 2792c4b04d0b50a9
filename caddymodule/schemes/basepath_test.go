package schemes_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// jsonEscape is a character in a JSON string.
func jsonEscape(c rune) string { return fmt.Sprintf(`\u%04x`, c) }

// received is a request as a server reads it from the wire, to be sent on.
func received(t testing.TB, target string) *http.Request {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: api.example\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestBasePathStandsBeforeThePathByteForByte(t *testing.T) {
	const document = `{"id": 42, "name": "a-b.c_d~e"}`
	for line, targets := range map[string]map[string]string{
		"base_path /v1/{credential.id}": {
			"/":                    "/v1/42/",
			"/invoices":            "/v1/42/invoices",
			"/invoices/":           "/v1/42/invoices/",
			"/invoices?a=b":        "/v1/42/invoices?a=b",
			"/invoices?":           "/v1/42/invoices?",
			"/x?a=%2F&b=../..&%zz": "/v1/42/x?a=%2F&b=../..&%zz",
			"/a%2Fb":               "/v1/42/a%2Fb",
			"/a%2fb":               "/v1/42/a%2fb",
			"/%61":                 "/v1/42/%61",
			"/a%20b":               "/v1/42/a%20b",
			"/%C3%A9":              "/v1/42/%C3%A9",
			"/a%25b":               "/v1/42/a%25b",
			"/a+b":                 "/v1/42/a+b",
			"/a;v=1,2/b:c@d":       "/v1/42/a;v=1,2/b:c@d",
			"/!$&'()*+,;=:@":       "/v1/42/!$&'()*+,;=:@",
			"//a//b":               "/v1/42//a//b",
			"/a/../b":              "/v1/42/a/../b",
			"/a/./b/%2e%2e/c":      "/v1/42/a/./b/%2e%2e/c",
			"/..a/...":             "/v1/42/..a/...",
			"http://other/a%2Fb":   "/v1/42/a%2Fb",
			"http://other":         "/v1/42",
		},
		"base_path /v1/{credential.id}/":               {"/": "/v1/42/", "/a%2Fb": "/v1/42/a%2Fb"},
		"base_path /":                                  {"/": "/", "/a%2Fb/": "/a%2Fb/"},
		"base_path /v1":                                {"/a": "/v1/a"},
		"base_path /{credential.name}:get/a%2Fb;c=d":   {"/a%2fb": "/a-b.c_d~e:get/a%2Fb;c=d/a%2fb"},
		"base_path /a.{credential.id}.{credential.id}": {"/..a": "/a.42.42/..a"},
	} {
		for target, want := range targets {
			req := received(t, target)
			apply(t, req, document, line)
			if got := req.URL.RequestURI(); got != want {
				t.Errorf("%s: %s: got %s, want %s", line, target, got, want)
			}
			if unescaped, err := url.PathUnescape(req.URL.EscapedPath()); err != nil || unescaped != req.URL.Path {
				t.Errorf("%s: %s: the path is %q", line, target, req.URL.Path)
			}
		}
	}
}

// An upstream that removes dot segments, as RFC 3986 section 5.2.4 does, must not get
// from what the client sent behind the tenant's path to before it.
func TestRequestsCannotClimbOutOfBasePath(t *testing.T) {
	a := bind(t, read(t, "base_path /accounts/{credential.id}"), `{"id": 42}`)
	for _, target := range []string{"/..", "/../", "/../7/x", "/a/../../7", "/./../7", "/%2e%2e/7", "/.%2E/7", "/..%2f7", "/a/..%2f../7", "/a/b/../../../42/x"} {
		req := received(t, target)
		if err := a.Authenticate(req, nil); err == nil {
			t.Errorf("%s: sent to %s", target, req.URL.RequestURI())
		}
	}
}

// There is nothing that a path could stand before.
func TestBasePathOfARequestWithoutAPath(t *testing.T) {
	a := bind(t, read(t, "base_path /accounts/{credential.id}"), `{"id": 42}`)
	for _, target := range []string{"*", "urn:x"} {
		req := received(t, target)
		if err := a.Authenticate(req, nil); err == nil {
			t.Errorf("%s: sent to %s", target, req.URL.RequestURI())
		}
	}
}

// Whatever is sent, it goes below the tenant's path, and ends as the client's path does.
func FuzzBasePath(f *testing.F) {
	for _, target := range []string{"/", "/a%2Fb", "/../x", "//..", "/%2e%2e%2f", "/a b", "/é", "*", "/%", "/a/../..", "http://h?x", "/[]^`{|}"} {
		f.Add(target, "42")
	}
	f.Fuzz(func(t *testing.T, target, id string) {
		client, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		c := newCredential(t, `{}`)
		if text, ok := jsonString(id); ok {
			c = newCredential(t, `{"id": `+text+`}`)
		}
		a, err := read(t, "base_path /accounts/{credential.id}/").Bind(c)
		if err != nil {
			return
		}
		req := &http.Request{Header: http.Header{}, URL: new(url.URL)}
		*req.URL = *client
		if a.Authenticate(req, nil) != nil {
			return
		}
		if got, want := req.URL.EscapedPath(), "/accounts/"+id+client.EscapedPath(); got != want {
			t.Fatalf("%q: sent to %q, want %q", target, got, want)
		}
		if req.URL.RawQuery != client.RawQuery {
			t.Fatalf("%q: sent with %q", target, req.URL.RawQuery)
		}
		if clean := req.URL.JoinPath().EscapedPath(); clean != "/accounts/"+id && !strings.HasPrefix(clean, "/accounts/"+id+"/") {
			t.Fatalf("%q: gets to %q", target, clean)
		}
	})
}

// jsonString returns text as a JSON string, if it can stand in one.
func jsonString(text string) (string, bool) {
	quoted, err := json.Marshal(text)
	return string(quoted), err == nil && utf8.ValidString(text)
}
