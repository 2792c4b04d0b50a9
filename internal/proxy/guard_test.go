package proxy

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestSharedCachesAreKeptFromWhatIsOneTenants(t *testing.T) {
	type header = http.Header
	for name, c := range map[string]struct {
		method     string
		status     int
		header     header
		want, vary string
	}{
		"nothing said":                {"GET", 200, nil, "private", "X-Tenant-Id"},
		"a HEAD":                      {"HEAD", 200, nil, "private", "X-Tenant-Id"},
		"nothing said to a POST":      {"POST", 200, nil, "", "X-Tenant-Id"},
		"a status that is not stored": {"GET", 401, nil, "", "X-Tenant-Id"},
		"not found":                   {"GET", 404, nil, "private", "X-Tenant-Id"},
		"public":                      {"GET", 200, header{"Cache-Control": {"public, max-age=60"}}, "private, max-age=60", "X-Tenant-Id"},
		"for shared caches":           {"GET", 200, header{"Cache-Control": {"s-maxage=60", "max-age=5"}}, "private, max-age=5", "X-Tenant-Id"},
		"fresh, to a POST":            {"POST", 200, header{"Cache-Control": {"max-age=60"}}, "private, max-age=60", "X-Tenant-Id"},
		"fresh, a 401":                {"GET", 401, header{"Cache-Control": {"Max-Age=60"}}, "private, Max-Age=60", "X-Tenant-Id"},
		"expires":                     {"POST", 200, header{"Expires": {"Thu, 01 Dec 2094 16:00:00 GMT"}}, "private", "X-Tenant-Id"},
		"no-store":                    {"GET", 200, header{"Cache-Control": {"public, No-Store"}}, "No-Store", "X-Tenant-Id"},
		"private":                     {"GET", 200, header{"Cache-Control": {"private, max-age=60"}}, "private, max-age=60", "X-Tenant-Id"},
		"no-store for some caches":    {"GET", 200, header{"Cache-Control": {"must-understand, no-store, max-age=600"}}, "no-store, max-age=600", "X-Tenant-Id"},
		"for a CDN":                   {"GET", 200, header{"Cdn-Cache-Control": {"max-age=600"}, "Surrogate-Control": {"max-age=600"}}, "private", "X-Tenant-Id"},
		"private in part":             {"GET", 200, header{"Cache-Control": {`private="set-cookie, x", max-age=60`}}, "private, max-age=60", "X-Tenant-Id"},
		"a value with a comma":        {"GET", 200, header{"Cache-Control": {`no-cache="a, public", max-age=1`}}, `private, no-cache="a, public", max-age=1`, "X-Tenant-Id"},
		"garbage":                     {"GET", 200, header{"Cache-Control": {`,, ="\`}}, "private, =\"\\", "X-Tenant-Id"},
		"varies":                      {"GET", 200, header{"Vary": {"Accept", "Origin"}}, "private", "Accept|Origin|X-Tenant-Id"},
		"varies by the tenant":        {"GET", 200, header{"Vary": {"Accept, x-tenant-id"}}, "private", "Accept, x-tenant-id"},
		"varies by anything":          {"GET", 200, header{"Vary": {"*"}}, "private", "*"},
	} {
		t.Run(name, func(t *testing.T) {
			x, _ := newExchange(t)
			x.NamedBy.Headers = []string{"X-Tenant-Id"}
			res, err := (&Transport{Base: roundTripperFunc(func(*http.Request) (*http.Response, error) {
				res := answer(c.status)
				for name, values := range c.header {
					res.Header[name] = values
				}
				return res, nil
			})}).RoundTrip(newRequest(t, x, c.method, "http://upstream.example/", nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(res.Header["Cache-Control"], "|"); got != c.want {
				t.Errorf("Cache-Control: %s, want %s", got, c.want)
			}
			if res.Header.Get("Cdn-Cache-Control")+res.Header.Get("Surrogate-Control") != "" {
				t.Errorf("got %v", res.Header)
			}
			if got := strings.Join(res.Header["Vary"], "|"); got != c.vary {
				t.Errorf("Vary: %s, want %s", got, c.vary)
			}
		})
	}
}

func TestAnswersOfAFixedTenantAreAsTheyCame(t *testing.T) {
	x, _ := newExchange(t)
	x.NamedBy.Fixed = true
	sent := http.Header{"Cache-Control": {"public"}, "Set-Cookie": {"a=b"}, "Vary": {"Accept"}}
	res, err := (&Transport{Base: roundTripperFunc(func(*http.Request) (*http.Response, error) {
		res := answer(200)
		res.Header = sent.Clone()
		return res, nil
	})}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
	if err != nil || !reflect.DeepEqual(res.Header, sent) {
		t.Errorf("got %v, %v", res.Header, err)
	}
}

func TestCookiesDoNotPassFromOneTenantToAnother(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		cookie []string // sent
		want   []string // seen by the upstream
		set    bool     // Set-Cookie passes
	}{
		"as a rule":                {func(*Settings) {}, []string{"a=1; b=2"}, nil, false},
		"passed":                   {func(s *Settings) { s.PassCookies = true }, []string{"a=1; b=2"}, []string{"a=1; b=2"}, true},
		"of one tenant":            {func(s *Settings) { s.NamedBy.Fixed = true }, []string{"a=1"}, []string{"a=1"}, true},
		"but for the tenant's":     {func(s *Settings) { s.PassCookies, s.NamedBy.Cookies = true, []string{"t"} }, []string{"a=1; t=acme;b=2", "T = x"}, []string{"a=1; b=2"}, true},
		"the tenant's alone":       {func(s *Settings) { s.PassCookies, s.NamedBy.Cookies = true, []string{"t"} }, []string{"t=acme"}, nil, true},
		"of a name that begins so": {func(s *Settings) { s.PassCookies, s.NamedBy.Cookies = true, []string{"t"} }, []string{"tt=acme; a=2"}, []string{"tt=acme; a=2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			x, _ := newExchange(t)
			c.change(x.Settings)
			req := newRequest(t, x, "GET", "http://upstream.example/", nil)
			req.Header["Cookie"] = c.cookie
			res, err := (&Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
				if cookie := got.Header["Cookie"]; !reflect.DeepEqual(cookie, c.want) {
					t.Errorf("the upstream saw %q, want %q", cookie, c.want)
				}
				res := answer(200)
				res.Header.Set("Set-Cookie", "session=acme")
				return res, nil
			})}).RoundTrip(req)
			if err != nil || (res.Header.Get("Set-Cookie") != "") != c.set {
				t.Errorf("the client got %q, %v", res.Header.Get("Set-Cookie"), err)
			}
		})
	}
}

func TestParameterThatNamesTheTenantIsNotSent(t *testing.T) {
	x, _ := newExchange(t)
	x.NamedBy.Parameters = []string{"customer"}
	base := roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		if got.URL.RawQuery != "a=1&b=2" {
			t.Errorf("the upstream saw %q", got.URL.RawQuery)
		}
		return answer(200), nil
	})
	if _, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/?a=1&customer=acme&b=2", nil)); err != nil {
		t.Fatal(err)
	}
}

func TestOthersDoNotLearnWhoseRequestsTheseAre(t *testing.T) {
	for host, near := range map[string]bool{
		"127.0.0.1:8080": true, "[::1]:80": true, "10.1.2.3": true, "192.168.0.1:443": true, "169.254.1.1:80": true, "[fd00::1]:443": true,
		"[::ffff:10.0.0.1]:80": true, "localhost:80": true, "api.localhost": true, "backend": true, "backend:8080": true,
		"api.default.svc:80": true, "nas.home.arpa": true, "db.internal.": true, "unix//run/a.b.sock": true,
		"api.example.com:443": false, "8.8.8.8:443": false, "[2001:db8::1]:443": false, "internal.example.com": false, "notlocal.example": false,
		"xlocalhost.com": false, ".internal": false, "api.svc.example": false,
		"2130706433": false, "2130706433:443": false, "0x8080808": false, "0x0a000001:80": false, "app1": true, "1password": true,
	} {
		for _, pass := range []bool{false, true} {
			x, _ := newExchange(t)
			x.PassForwarded = pass
			req := newRequest(t, x, "GET", "http://placeholder.example/", nil)
			req.URL.Host = host
			req.Header = http.Header{"X-Forwarded-For": {"10.0.0.9"}, "X-Forwarded-Host": {"app"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"for=x"}, "Via": {"1.1 Caddy"}, "X-Own": {"1"}}
			base := roundTripperFunc(func(got *http.Request) (*http.Response, error) {
				seen := 0
				for name := range req.Header {
					if len(got.Header[name]) > 0 {
						seen++
					}
				}
				if want := map[bool]int{true: 6, false: 1}[near || pass]; seen != want {
					t.Errorf("%s, passed %v: %d of 6 fields were sent, want %d", host, pass, seen, want)
				}
				return answer(200), nil
			})
			if _, err := (&Transport{Base: base}).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
		}
	}
}
