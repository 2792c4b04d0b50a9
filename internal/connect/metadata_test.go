package connect

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	openIDPlace = "/.well-known/openid-configuration"
	oauthPlace  = "/.well-known/oauth-authorization-server"
)

func TestMetadataThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(s *server){
		"another issuer":            func(s *server) { s.metadata["issuer"] = "https://canary.example" },
		"issuer with a slash":       func(s *server) { s.metadata["issuer"] = "https://as.example/" },
		"no issuer":                 func(s *server) { s.metadata["issuer"] = nil },
		"no S256":                   func(s *server) { s.metadata["code_challenge_methods_supported"] = []string{"plain"} },
		"no challenge methods":      func(s *server) { s.metadata["code_challenge_methods_supported"] = []string{} },
		"no authorization endpoint": func(s *server) { s.metadata["authorization_endpoint"] = nil },
		"endpoint by http":          func(s *server) { s.metadata["authorization_endpoint"] = "http://as.example/authorize" },
		"endpoint on this machine":  func(s *server) { s.metadata["authorization_endpoint"] = "http://127.0.0.1/authorize" },
		"endpoint is a script":      func(s *server) { s.metadata["authorization_endpoint"] = "javascript:canary" },
		"endpoint is relative":      func(s *server) { s.metadata["authorization_endpoint"] = "/authorize" },
		"endpoint with a fragment":  func(s *server) { s.metadata["authorization_endpoint"] = "https://as.example/authorize#x" },
		"endpoint with a state":     func(s *server) { s.metadata["authorization_endpoint"] = "https://as.example/authorize?state=x" },
		"keys by http":              func(s *server) { s.metadata["jwks_uri"] = "http://as.example/keys" },
		"keys on this machine":      func(s *server) { s.metadata["jwks_uri"] = "https://localhost/keys" },
		"userinfo by http":          func(s *server) { s.metadata["userinfo_endpoint"] = "http://as.example/userinfo" },
		"issuer is a number":        func(s *server) { s.metadata["issuer"] = 7 },
		"a page":                    func(s *server) { s.at(openIDPlace, always(200, "text/html", "<h1>canary</h1>")) },
		"an array":                  func(s *server) { s.at(openIDPlace, always(200, "application/json", "[]")) },
		"nothing":                   func(s *server) { s.at(openIDPlace, always(200, "application/json", "")) },
		"null":                      func(s *server) { s.at(openIDPlace, always(200, "application/json", "null")) },
		"deep":                      func(s *server) { s.at(openIDPlace, always(200, "application/json", long(`{"issuer":`, 20000))) },
		"not there":                 func(s *server) { s.at(openIDPlace, http.NotFound) },
		"an error":                  func(s *server) { s.at(openIDPlace, always(500, "text/plain", "canary")) },
		"too many requests":         func(s *server) { s.at(openIDPlace, always(429, "text/plain", "canary")) },
		"somewhere else": func(s *server) {
			s.at(openIDPlace, http.RedirectHandler("https://canary.example/", http.StatusFound).ServeHTTP)
		},
		"too large": func(s *server) { s.metadata["x"] = long("x", (256 << 10)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			change(f.server)
			f.wantFailure(f.browser.get(t, f.Flow, f.link("")), ErrServerUnavailable)
			if len(f.browser.cookies) > 0 {
				t.Error("it set a cookie")
			}
		})
	}
}

func TestMetadataOfAServerThatIsDown(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("dial canary") })
	})
	f.wantFailure(f.browser.get(t, f.Flow, f.link("")), ErrServerUnavailable)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

func TestWhereMetadataLie(t *testing.T) {
	for name, test := range map[string]struct {
		path   string // of the issuer
		place  string
		before map[string]http.HandlerFunc
	}{
		"OpenID Connect":                        {"", openIDPlace, nil},
		"OpenID Connect, issuer with a path":    {"/realms/x", "/realms/x" + openIDPlace, nil},
		"OpenID Connect, issuer with a slash":   {"/", openIDPlace, nil},
		"RFC 8414":                              {"", oauthPlace, map[string]http.HandlerFunc{openIDPlace: http.NotFound}},
		"RFC 8414, issuer with a path":          {"/realms/x", oauthPlace + "/realms/x", nil},
		"RFC 8414, issuer with a path, slashed": {"/realms/x/", oauthPlace + "/realms/x", nil},
		"RFC 8414, the other place is closed":   {"", oauthPlace, map[string]http.HandlerFunc{openIDPlace: always(403, "", "")}},
		"RFC 8414, the other place redirects": {"", oauthPlace, map[string]http.HandlerFunc{
			openIDPlace: http.RedirectHandler("/login", http.StatusFound).ServeHTTP,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.server.issuer += test.path
			base := strings.TrimSuffix(f.server.issuer, "/")
			f.server.metadata = map[string]any{
				"authorization_endpoint": base + "/authorize", "jwks_uri": "https://as.example/keys",
			}
			f.server.at(openIDPlace, http.NotFound)
			maps.Copy(f.server.replaced, test.before)
			f.server.at(test.place, func(w http.ResponseWriter, _ *http.Request) { f.server.serveMetadata(w) })
			f.Flow = f.newFlow(func(c *Config) { c.OAuth2 = newOAuth2(t, "https://as.example/token", nil) })
			if got := f.start(f.link("")); !strings.HasPrefix(got, base+"/authorize?") {
				t.Errorf("sent to %s", got)
			}
		})
	}
}

func TestMetadataAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.LinkTTL = MaxLinkTTL })
		link := f.link("")
		for range 3 {
			f.start(link)
		}
		time.Sleep(time.Hour - time.Second)
		f.start(link)
		if n := f.server.count(openIDPlace); n != 1 {
			t.Errorf("asked for %d times within an hour", n)
		}
		time.Sleep(time.Second)
		f.start(link)
		if n := f.server.count(openIDPlace); n != 2 {
			t.Errorf("asked for %d times after an hour", n)
		}
	})
}

func TestFailureToGetMetadataIsKeptShortly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		link := f.link("")
		f.server.at(openIDPlace, always(500, "", ""))
		for range 3 {
			f.wantFailure(f.browser.get(t, f.Flow, link), ErrServerUnavailable)
		}
		f.server.at(openIDPlace, nil)
		time.Sleep(5*time.Second - time.Millisecond)
		f.wantFailure(f.browser.get(t, f.Flow, link), ErrServerUnavailable)
		if n := f.server.count(openIDPlace); n != 1 {
			t.Errorf("asked for %d times within five seconds", n)
		}
		time.Sleep(time.Millisecond)
		f.start(link)
	})
}

func TestMetadataAreAskedForOnceForManyAndWithoutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		answer := make(chan struct{})
		f.server.at(openIDPlace, func(w http.ResponseWriter, _ *http.Request) {
			<-answer
			f.server.serveMetadata(w)
		})
		ctx, hangUp := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if i == 0 {
					if _, err := f.metadata.Get(ctx); !errors.Is(err, context.Canceled) {
						t.Errorf("who hung up got %v", err)
					}
					return
				}
				if m, err := f.metadata.Get(t.Context()); err != nil || m == nil {
					t.Errorf("got %v, %v", m, err)
				}
			})
		}
		synctest.Wait()
		hangUp()
		synctest.Wait()
		close(answer)
		all.Wait()
		if n := f.server.count(openIDPlace); n != 1 {
			t.Errorf("asked for %d times", n)
		}
	})
}

func TestMetadataHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.server.at(openIDPlace, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		before := time.Now()
		f.wantFailure(f.browser.get(t, f.Flow, f.link("")), ErrServerUnavailable)
		if waited := time.Since(before); waited > 10*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestAuthorizationURLWinsOverMetadata(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.AuthorizationURL = literal("https://own.example/authorize") })
	if got := f.start(f.link("")); !strings.HasPrefix(got, "https://own.example/authorize?") {
		t.Errorf("sent to %s", got)
	}
}
