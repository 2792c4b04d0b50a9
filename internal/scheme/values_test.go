package scheme

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestApplyRemovesHeadersInEverySpelling(t *testing.T) {
	s := newScheme(t, Options{Headers: []Header{{"x-api-key", template(t, "{credential.k}")}}})
	v := resolve(t, s, `{"k": "ours"}`)
	for _, key := range []string{"X-Api-Key", "x-api-key", "X-API-KEY", "X_Api_Key", "x.api.key", "X-api_KEY", "X api Key"} {
		req := &http.Request{
			Header:  http.Header{key: {"theirs", "twice"}, "X-Api-Keys": {"kept"}, "Xapikey": {"kept"}, "Accept": {"a", "b"}},
			Trailer: http.Header{key: nil, "X-Checksum": nil},
		}
		v.Apply(req)
		if len(req.Header) != 4 || !slices.Equal(req.Header["X-Api-Key"], []string{"ours"}) || len(req.Header["Accept"]) != 2 {
			t.Errorf("%s: header is %v", key, req.Header)
		}
		if _, kept := req.Trailer["X-Checksum"]; len(req.Trailer) != 1 || !kept {
			t.Errorf("%s: trailer is %v", key, req.Trailer)
		}
	}
}

func TestApplySharesNothingBetweenRequests(t *testing.T) {
	s := newScheme(t, Options{Headers: []Header{{"A", template(t, "{credential.k}")}, {"B", template(t, "{credential.k}")}}})
	v := resolve(t, s, `{"k": "ours"}`)
	one, two := &http.Request{}, &http.Request{}
	v.Apply(one)
	v.Apply(two)
	one.Header["A"][0] = "changed"
	one.Header.Add("A", "more")
	if two.Header.Get("A") != "ours" || one.Header.Get("B") != "ours" {
		t.Errorf("got %v and %v", one.Header, two.Header)
	}
}

func TestApplyReplacesQueryParameters(t *testing.T) {
	s := newScheme(t, Options{Queries: []Query{
		{"account", template(t, "{credential.id}")},
		{"api key", template(t, "{credential.k}")},
	}})
	v := resolve(t, s, `{"id": 42, "k": "a&b;c=d +%\n"}`)
	const ours = "account=42&api+key=a%26b%3Bc%3Dd+%2B%25%0A"
	for query, kept := range map[string]string{
		"":                        "",
		"x=1":                     "x=1",
		"account=1":               "",
		"account":                 "",
		"account=1&account=2":     "",
		"x=1&account=1":           "x=1",
		"account=1&x=1":           "x=1",
		"x=1&account=1&y=%zz;z":   "x=1&y=%zz;z",
		"x=1;account=1;y=2":       "x=1;y=2",
		"x=1;Account=1":           "x=1",
		"%61ccount=1&x":           "x",
		"%61%43COUNT=1&x":         "x",
		"api%20key=1&x":           "x",
		"api+key=1&x":             "x",
		"api key=1&x":             "x",
		"accounts=1&xaccount=2":   "accounts=1&xaccount=2",
		"q=account=1":             "q=account=1",
		"&&account=1&&":           "&&&",
		"a=%2&b=+&account=%":      "a=%2&b=+",
		"account&account;account": "",
		"x&account;account":       "x",
		"account%3d=1":            "account%3d=1",
	} {
		req := &http.Request{URL: &url.URL{RawQuery: query}}
		v.Apply(req)
		want := ours
		if kept != "" {
			want = kept + "&" + ours
		}
		if got := req.URL.RawQuery; got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

func TestValuesEqual(t *testing.T) {
	options := Options{
		Headers: []Header{{"X-Key", template(t, "{credential.k}")}},
		Queries: []Query{{"q", template(t, "{credential.q}")}},
	}
	s := newScheme(t, options)
	a := resolve(t, s, `{"k": "1", "q": "2", "other": 1}`)
	if !a.Equal(resolve(t, newScheme(t, options), `{"q": "2", "k": "1"}`)) {
		t.Error("the same values are not equal")
	}
	options.Headers = []Header{{"X-Other", template(t, "{credential.k}")}}
	for name, b := range map[string]*Values{
		"header":      resolve(t, s, `{"k": "x", "q": "2"}`),
		"query":       resolve(t, s, `{"k": "1", "q": "x"}`),
		"header name": resolve(t, newScheme(t, options), `{"k": "1", "q": "2"}`),
		"nil":         nil,
	} {
		if a.Equal(b) {
			t.Errorf("%s: different values are equal", name)
		}
	}
}

func TestValuesDoNotPrintSecrets(t *testing.T) {
	s := newScheme(t, Options{Headers: []Header{{"X-Key", template(t, "{credential.k}")}}})
	v := resolve(t, s, `{"k": "hunter2"}`)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, v); strings.Contains(text, "hunter2") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

// FuzzQueryRemoval holds what the upstream sees against two parsers: Go's, and a
// permissive one that also splits at ';' and takes bad escapes as they are.
func FuzzQueryRemoval(f *testing.F) {
	for _, query := range []string{
		"", "a=1", "account=1", "%61ccount=1;ACCOUNT", "x=1&%zz&account=%", "&&;;", "a=b;c=d&account", "accoun%74%=1",
	} {
		f.Add(query, "v&;=")
	}
	f.Fuzz(func(t *testing.T, query, value string) {
		v := &Values{scheme: &Scheme{queryNames: []string{"account"}}, query: parameter("account", value)}
		req := &http.Request{URL: &url.URL{RawQuery: query}}
		v.Apply(req)
		got := req.URL.RawQuery

		parsed, _ := url.ParseQuery(got)
		seen := 0
		for name, values := range parsed {
			if strings.EqualFold(name, "account") {
				seen += len(values)
			}
		}
		if seen != 1 || parsed.Get("account") != value {
			t.Fatalf("%q: Go sees %d in %q", query, seen, got)
		}

		split := func(s string) []string {
			return strings.FieldsFunc(s, func(r rune) bool { return r == '&' || r == ';' })
		}
		named := func(segment string) bool {
			name, _, _ := strings.Cut(segment, "=")
			return strings.EqualFold(permissiveUnescape(name), "account")
		}
		var others []string
		for _, segment := range split(query) {
			if !named(segment) {
				others = append(others, segment)
			}
		}
		segments := split(got)
		if len(segments) == 0 || !named(segments[len(segments)-1]) {
			t.Fatalf("%q: ours is not the last in %q", query, got)
		}
		if rest := segments[:len(segments)-1]; !slices.Equal(rest, others) {
			t.Fatalf("%q: others are %q, want %q", query, rest, others)
		}
		if len(others) == len(split(query)) && query != "" && got != query+"&"+v.query {
			t.Fatalf("%q without ours was changed to %q", query, got)
		}
	})
}

func permissiveUnescape(s string) string {
	var b strings.Builder
	for s != "" {
		if len(s) >= 3 && s[0] == '%' {
			if c, err := url.PathUnescape(s[:3]); err == nil {
				b.WriteString(c)
				s = s[3:]
				continue
			}
		}
		b.WriteString(strings.ReplaceAll(s[:1], "+", " "))
		s = s[1:]
	}
	return b.String()
}

func BenchmarkResolve(b *testing.B) {
	c := newCredential(b, `{"access_token": "`+strings.Repeat("a", 900)+`", "refresh_token": "r", "expires_at": "2030-01-01T00:00:00Z", "account": {"id": 42}}`)
	for name, o := range map[string]Options{
		"bearer": {Headers: []Header{{"Authorization", template(b, "Bearer {credential.access_token}")}}},
		"header and query": {
			Headers: []Header{{"X-Api-Key", template(b, "{credential.access_token}")}},
			Queries: []Query{{"account", template(b, "{credential.account.id}")}},
		},
		"basic": {Basic: &Basic{template(b, "{credential.account.id}"), template(b, "{credential.refresh_token}")}},
	} {
		s := newScheme(b, o)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Resolve(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for name, o := range map[string]Options{
		"bearer": {Headers: []Header{{"Authorization", template(b, "Bearer {credential.k}")}}},
		"query":  {Queries: []Query{{"account", template(b, "{credential.k}")}}},
	} {
		v := resolve(b, newScheme(b, o), `{"k": "0123456789abcdef"}`)
		header := http.Header{}
		for _, key := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Content-Type", "Authorization"} {
			header[key] = []string{"x"}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			req := &http.Request{Header: header, URL: &url.URL{}}
			for b.Loop() {
				req.URL.RawQuery = "page=3&per_page=100&sort=asc"
				v.Apply(req)
			}
		})
	}
}
