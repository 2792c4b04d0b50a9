package proxy

import (
	"net/http"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
)

func TestBothHostsMustBeAllowed(t *testing.T) {
	for _, test := range []struct {
		dialed, url, host string
		allowed           bool
	}{
		{"api.example.com", "http://10.0.0.1:80/", "api.example.com", true},
		{"api.example.com", "http://10.0.0.1:80/", "evil.example", false},
		{"evil.example", "http://api.example.com/", "api.example.com", false},
		{"", "http://api.example.com/", "api.example.com", true},
		{"", "http://api.example.com/", "", true},
		{"", "http://evil.example/", "api.example.com", false},
		{"", "http://api.example.com/", "evil.example", false},
		{"api.example.com:8443", "http://10.0.0.1/", "api.example.com:8443", true},
		{"port.example:8443", "http://10.0.0.1/", "port.example", true},
		{"port.example:443", "http://10.0.0.1/", "port.example:8443", false},
		{"port.example", "http://10.0.0.1/", "port.example:8443", false},
		{"port.example:8443", "http://10.0.0.1/", "port.example:443", false},
		{"192.0.2.1%3A5000->10.0.0.1%3A80", "http://10.0.0.1/", "api.example.com", false},
	} {
		x, _ := newExchange(t)
		var err error
		if x.Provider.Hosts, err = hosts.Parse([]string{"api.example.com", "port.example:8443"}); err != nil {
			t.Fatal(err)
		}
		base := &script{answers: []any{200}}
		transport := &Transport{Base: base}
		if test.dialed != "" {
			transport.DialedHost = func(*http.Request) string { return test.dialed }
		}
		req := newRequest(t, x, "POST", test.url, bodytest.ReaderFunc(func([]byte) (int, error) {
			if !test.allowed {
				t.Error("the body was read")
			}
			return 0, http.ErrBodyNotAllowed
		}))
		req.Body = http.NoBody
		req.Host = test.host
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if test.allowed {
			if res.StatusCode != 200 {
				t.Errorf("%v: %d", test, res.StatusCode)
			}
			continue
		}
		if len(base.tokens) > 0 {
			t.Errorf("%v: it was sent", test)
		}
		if res.StatusCode != 502 || res.Header.Get(HeaderError) != "host_not_allowed" || res.Request != req || res.Body == nil || res.Status != "502 Bad Gateway" {
			t.Errorf("%v: %+v", test, res)
		}
	}
}
