package proxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// failing is a scheme that cannot authenticate with one token.
func failing(with string) scheme.Scheme {
	return &schemeFunc{names: scheme.Names{Header: []string{"Authorization"}}, bind: func(token string) scheme.Authenticator {
		return authenticatorFunc(func(req *http.Request, _ scheme.Body) error {
			if token == with {
				return errors.New("the key hunter2 cannot be used")
			}
			req.Header.Set("Authorization", "Bearer "+token)
			return nil
		})
	}}
}

// What a scheme signs with may be away, as the store may be.
func TestKeyThatIsAwayIsAnsweredWith503(t *testing.T) {
	x, _ := newExchange(t, &schemeFunc{bind: func(string) scheme.Authenticator {
		return authenticatorFunc(func(*http.Request, scheme.Body) error {
			return fmt.Errorf("signing: %w", credential.ErrUnavailable)
		})
	}})
	var log strings.Builder
	x.Logger = slog.New(slog.NewTextHandler(&log, nil))
	base := &script{}
	res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
	if err != nil || res.StatusCode != 503 || res.Header.Get(HeaderError) != "store_unavailable" || res.Header.Get("Retry-After") == "" || len(base.tokens) != 0 {
		t.Fatal(res, err)
	}
	if !strings.Contains(log.String(), "signing: credential store unavailable") {
		t.Errorf("logged %q", log.String())
	}
}

func TestRequestThatCannotBeAuthenticatedIsAnswered(t *testing.T) {
	for _, test := range []struct {
		name      string
		failsWith string
		refreshOn func(int, http.Header) bool
		answers   []any
		sent      int
		refreshes int32
	}{
		{"at first", "old", nil, nil, 0, 0},
		{"after a renewal", "new", nil, []any{401}, 1, 1},
		{"where 502 is refreshed", "old", func(status int, _ http.Header) bool { return status == 502 }, nil, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, c := newExchange(t, failing(test.failsWith))
			x.RefreshOn = test.refreshOn
			var log strings.Builder
			x.Logger = slog.New(slog.NewTextHandler(&log, nil))
			base := &script{answers: test.answers}
			req := newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body"))
			res, err := (&Transport{Base: base}).RoundTrip(req)
			if err != nil || res.StatusCode != 502 || res.Header.Get(HeaderError) != "credential_invalid" || res.Request != req || res.Body == nil {
				t.Fatal(res, err)
			}
			if len(base.tokens) != test.sent {
				t.Errorf("sent %d times", len(base.tokens))
			}
			if text := log.String(); !strings.Contains(text, "test") || strings.Contains(text, "hunter2") || strings.Contains(text, "acme") {
				t.Errorf("logged %q", text)
			}
			c.expect(t, test.refreshes, 0, 0) // The upstream has not said what it thinks of the token.
		})
	}
}

// pathScheme puts the access token before the path.
func pathScheme() scheme.Scheme {
	return &schemeFunc{bind: func(token string) scheme.Authenticator {
		return authenticatorFunc(func(req *http.Request, _ scheme.Body) error {
			req.URL.Path = "/" + token + req.URL.Path
			req.URL.RawQuery += "&signed"
			return nil
		})
	}}
}

func TestSchemeThatChangesTheURLChangesNotTheGivenOne(t *testing.T) {
	x, _ := newExchange(t, pathScheme(), bearerScheme)
	req := newRequest(t, x, "GET", "http://upstream.example/a?b=c", nil)
	given := *req.URL
	var urls []string
	transport := &Transport{Base: roundTripperFunc(func(got *http.Request) (*http.Response, error) {
		urls = append(urls, got.URL.String())
		if len(urls) == 1 {
			return answer(401), nil
		}
		return answer(200), nil
	})}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"http://upstream.example/old/a?b=c&signed", "http://upstream.example/new/a?b=c&signed"}; !reflect.DeepEqual(urls, want) {
		t.Errorf("sent to %q", urls)
	}
	if *req.URL != given || res.Request != req {
		t.Errorf("the request was changed: %s", req.URL)
	}
}

func TestSchemesSeeTheRequestAsItGoesOut(t *testing.T) {
	var header http.Header
	var host string
	var to url.URL
	x, _ := newExchange(t, &schemeFunc{names: scheme.Names{Header: []string{"Authorization"}}, bind: func(string) scheme.Authenticator {
		return authenticatorFunc(func(req *http.Request, _ scheme.Body) error {
			header, host, to = req.Header.Clone(), req.Host, *req.URL
			if req.Body != nil || req.GetBody != nil {
				t.Error("it could read the body")
			}
			return nil
		})
	}})
	x.NamedBy.Headers = []string{"X-Tenant-Id"}
	req := newRequest(t, x, "POST", "http://10.0.0.1:8080/a", strings.NewReader("body"))
	req.Host = "api.example.com"
	req.Header = http.Header{"Authorization": {"stolen"}, "X-Tenant-Id": {"acme"}, "Accept": {"a"}}
	sent(t, x, req)
	if !reflect.DeepEqual(header, http.Header{"Accept": {"a"}}) || host != "api.example.com" || to.Host != "10.0.0.1:8080" {
		t.Errorf("seen: %v, %s, %s", header, host, to.Host)
	}
}

func TestTrailerOfASchemeIsSentBesideTheClients(t *testing.T) {
	x, _ := newExchange(t, &schemeFunc{names: scheme.Names{Header: []string{"X-Proof"}}, bind: func(token string) scheme.Authenticator {
		return authenticatorFunc(func(req *http.Request, _ scheme.Body) error {
			req.Trailer["X-Proof"] = []string{token}
			return nil
		})
	}})
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, r.Trailer.Get("X-Proof")+" "+r.Trailer.Get("X-Sum"))
			if n := len(r.Trailer["X-Proof"]); n != 1 {
				t.Errorf("%d values", n)
			}
		})
		x := &Exchange{Settings: x.Settings, Tenant: x.Tenant, Opened: x.Opened}
		defer x.Close()
		req := newRequest(t, x, "POST", u.URL, nil)
		req.Trailer = http.Header{"X-Sum": nil, "X-Proof": nil}
		req.ContentLength = -1
		req.Body = io.NopCloser(&bodytest.TrailerBody{Reader: strings.NewReader("body"), Trailer: req.Trailer,
			Values: http.Header{"X-Sum": {"1"}, "X-Proof": {"stolen"}, "x_proof": {"stolen"}}})
		expectAnswer(t, u.roundTrip(t, req), 200, "old 1")
	})
}

// A scheme may not choose another host: that it is allowed was looked at before.
func TestSchemeThatSendsTheRequestElsewhereIsRefused(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"the host that is dialled": func(req *http.Request) { req.URL.Host = "elsewhere.example" },
		"the host that is named":   func(req *http.Request) { req.Host = "elsewhere.example" },
		"without TLS":              func(req *http.Request) { req.URL.Scheme = "http" },
	} {
		t.Run(name, func(t *testing.T) {
			x, c := newExchange(t, &schemeFunc{names: scheme.Names{Query: []string{"x"}}, bind: func(string) scheme.Authenticator {
				return authenticatorFunc(func(req *http.Request, _ scheme.Body) error { change(req); return nil })
			}})
			base := &script{}
			res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "GET", "https://upstream.example/", nil))
			if err != nil || res.StatusCode != 502 || len(base.tokens) != 0 {
				t.Errorf("got %v, %v after %d requests", res, err, len(base.tokens))
			}
			c.expect(t, 0, 0, 0)
		})
	}
}
