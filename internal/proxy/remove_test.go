package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// sent returns what is sent for x when it is given req.
func sent(t testing.TB, x *Exchange, req *http.Request) (out *http.Request) {
	t.Helper()
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		out = got
		return answer(200), nil
	})}
	res, err := transport.Send(req, x)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	return out
}

func TestHeadersOfTheClientAreRemovedInEverySpelling(t *testing.T) {
	for _, key := range []string{"X-Api-Key", "x-api-key", "X-API-KEY", "X_Api_Key", "x.api.key", "X-api_KEY", "X api Key"} {
		x, _ := newExchange(t, &headerScheme{name: "x-api-key"})
		req := newRequest(t, nil, "GET", "http://upstream.example/", nil)
		req.Header = http.Header{key: {"theirs", "twice"}, "X-Api-Keys": {"kept"}, "Xapikey": {"kept"}, "Accept": {"a", "b"}}
		req.Trailer = http.Header{key: nil, "X-Checksum": nil}
		out := sent(t, x, req)
		if len(out.Header) != 4 || !slices.Equal(out.Header["X-Api-Key"], []string{"old"}) || len(out.Header["Accept"]) != 2 {
			t.Errorf("%s: header is %v", key, out.Header)
		}
		if _, kept := out.Trailer["X-Checksum"]; len(out.Trailer) != 1 || !kept {
			t.Errorf("%s: trailer is %v", key, out.Trailer)
		}
	}
}

func TestHeadersAreRemovedThoughTheSchemeSetsNone(t *testing.T) {
	// Otherwise the client could say what the scheme says for some credentials alone.
	x, _ := newExchange(t, bearerScheme, &schemeFunc{
		names: scheme.Names{Header: []string{"X-Account"}, Query: []string{"account"}},
		bind: func(string) scheme.Authenticator {
			return authenticatorFunc(func(*http.Request, scheme.Body) error { return nil })
		},
	})
	req := newRequest(t, nil, "GET", "http://upstream.example/?Account=1", nil)
	req.Header = http.Header{"X_account": {"theirs"}}
	if out := sent(t, x, req); len(out.Header) != 1 || out.URL.RawQuery != "" {
		t.Errorf("sent %v, %s", out.Header, out.URL)
	}
}

func TestRequestsShareNothing(t *testing.T) {
	x, _ := newExchange(t, &headerScheme{name: "A"}, &headerScheme{name: "B"})
	req := newRequest(t, nil, "GET", "http://upstream.example/", nil)
	req.Header = nil
	one, two := sent(t, x, req), sent(t, x, req)
	one.Header["A"][0] = "changed"
	one.Header.Add("A", "more")
	if two.Header.Get("A") != "old" || one.Header.Get("B") != "old" {
		t.Errorf("got %v and %v", one.Header, two.Header)
	}
}

func TestParametersOfTheClientAreReplaced(t *testing.T) {
	x, _ := newExchange(t, &queryScheme{"account"}, &queryScheme{"api key"})
	x.authenticate(t, mustCredential(t, "a&b;c=d +%\n"))
	const ours = "account=a%26b%3Bc%3Dd+%2B%25%0A&api+key=a%26b%3Bc%3Dd+%2B%25%0A"
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
		if got := withoutParameters(query, x.Provider.Names().Query); got != kept {
			t.Errorf("%q: %q is kept, want %q", query, got, kept)
		}
		req := newRequest(t, nil, "GET", "http://upstream.example/", nil)
		req.URL.RawQuery = query
		want := ours
		if kept != "" {
			want = kept + "&" + ours
		}
		if got := sent(t, x, req).URL.RawQuery; got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
		if req.URL.RawQuery != query {
			t.Errorf("%q: the request given was changed", query)
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
		ours := parameter("account=" + url.QueryEscape(value))
		req := &http.Request{URL: &url.URL{RawQuery: withoutParameters(query, []string{"account"})}}
		if err := ours.Authenticate(req, nil); err != nil {
			t.Fatal(err)
		}
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
		if len(others) == len(split(query)) && query != "" && got != query+"&"+string(ours) {
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

func BenchmarkApply(b *testing.B) {
	for name, of := range map[string]scheme.Scheme{"bearer": bearerScheme, "query": &queryScheme{"account"}} {
		x, _ := newExchange(b, of)
		req := newRequest(b, nil, "GET", "http://upstream.example/?page=3&per_page=100&sort=asc", nil)
		for _, key := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Content-Type", "Authorization"} {
			req.Header[key] = []string{"x"}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			x.begin(req)
			for b.Loop() {
				if _, err := x.request(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
