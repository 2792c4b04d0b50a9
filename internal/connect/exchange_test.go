package connect

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// plain goes without an issuer, and so without an id token.
func plain(c *Config) {
	c.Issuer, c.AuthorizationURL = "", literal("https://as.example/authorize")
}

func TestTokenResponses(t *testing.T) {
	const whole = `{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_at":"some"}`
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"JSON as text":         {always(200, "text/plain", `{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_in":3600}`), whole},
		"JSON after a mark":    {always(200, "", "\xef\xbb\xbf\n"+`{"access_token":"canary-a1"}`), `{"access_token":"canary-a1"}`},
		"status 201":           {always(201, "application/json", `{"access_token":"canary-a1"}`), `{"access_token":"canary-a1"}`},
		"fractional lifetime":  {always(200, "application/json", `{"access_token":"canary-a1","expires_in":3599.5}`), `{"access_token":"canary-a1","expires_at":"some"}`},
		"refresh token's end":  {always(200, "application/json", `{"access_token":"canary-a1","refresh_token":"canary-r1","refresh_token_expires_in":86400}`), `{"access_token":"canary-a1","refresh_token":"canary-r1","refresh_token_expires_at":"some"}`},
		"lifetime is nonsense": {always(200, "application/json", `{"access_token":"canary-a1","refresh_token":"canary-r1","expires_in":"soon"}`), `{"access_token":"canary-a1","refresh_token":"canary-r1"}`},
		"odd token type":       {always(200, "application/json", `{"access_token":"canary-a1","token_type":7,"error":""}`), `{"access_token":"canary-a1"}`},
		"form":                 {always(200, "application/x-www-form-urlencoded", "access_token=canary-a1&refresh_token=canary-r1&expires_in=3600&token_type=Bearer"), whole},
		"form as text":         {always(200, "text/plain; charset=utf-8", "access_token=canary-a1&scope="), `{"access_token":"canary-a1"}`},
		"reserved field":       {always(200, "application/json", `{"access_token":"canary-a1","_upstream_auth":{"status":"disabled"}}`), `{"access_token":"canary-a1"}`},
		"unverifiable id":      {always(200, "application/json", `{"access_token":"canary-a1","id_token":"canary"}`), `{"access_token":"canary-a1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, plain)
			f.server.at("/token", test.handler)
			f.wantConnected(f.connect(""))
			wantDocument(t, f.accepted[0], test.want)
		})
	}
}

func TestTokenResponsesThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"invalid_grant":           {always(400, "application/json", `{"error":"invalid_grant","error_description":"canary"}`), ErrServerRefused},
		"unknown error":           {always(400, "application/json", `{"error":"canary"}`), ErrServerRefused},
		"error is an object":      {always(400, "application/json", `{"error":{"canary":1}}`), ErrServerRefused},
		"error with status 200":   {always(200, "application/json", `{"error":"bad_verification_code","access_token":"canary-a1"}`), ErrServerRefused},
		"error as a form":         {always(200, "application/x-www-form-urlencoded", "error=canary"), ErrServerRefused},
		"401":                     {always(401, "text/html", "canary"), ErrServerRefused},
		"500":                     {always(500, "application/json", `{"access_token":"canary-a1"}`), ErrServerUnavailable},
		"503":                     {always(503, "text/plain", "canary"), ErrServerUnavailable},
		"429":                     {always(429, "application/json", `{"error":"canary"}`), ErrServerUnavailable},
		"no access token":         {always(200, "application/json", `{"refresh_token":"canary-r1"}`), ErrServerRefused},
		"access token is a list":  {always(200, "application/json", `{"access_token":["canary"]}`), ErrServerRefused},
		"access token with lines": {always(200, "application/json", `{"access_token":"canary\r\nX: y"}`), ErrServerRefused},
		"a page":                  {always(200, "text/html", "<h1>canary</h1>"), ErrServerUnavailable},
		"an array":                {always(200, "application/json", `[{"access_token":"canary"}]`), ErrServerUnavailable},
		"nothing":                 {always(200, "application/json", ""), ErrServerUnavailable},
		"cut off":                 {always(200, "application/json", `{"access_token":"canary-a1","x":`), ErrServerUnavailable},
		"two objects":             {always(200, "application/json", `{"access_token":"canary-a1"}{}`), ErrServerUnavailable},
		"deep":                    {always(200, "application/json", `{"access_token":"canary-a1","x":`+long("[", 100)+long("]", 100)+"}"), ErrServerUnavailable},
		"too large":               {always(200, "application/json", `{"access_token":"canary-a1","x":"`+long("x", credential.MaxSize)+`"}`), ErrServerUnavailable},
		"moved": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://canary.example/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, ErrServerRefused},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, plain)
			f.server.at("/token", test.handler)
			f.wantFailure(f.connect(""), test.want)
			if n := f.server.count("/token"); n != 1 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

func TestCodeIsSentOnceOverARealConnection(t *testing.T) {
	var connections, requests atomic.Int64
	var f *fixture
	token := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 { // a connection that could be used again, and is gone the next time
			f.server.serveToken(w, r)
			return
		}
		panic(http.ErrAbortHandler)
	}))
	token.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	token.Start()
	defer token.Close()
	f = newFixture(t, func(c *Config) {
		plain(c)
		c.Dialer = nil
		c.OAuth2 = newOAuth2(t, token.URL+"/token", nil)
	})
	f.wantConnected(f.connect(""))
	f.accepted = nil
	f.wantFailure(f.connect(""), ErrServerUnavailable)
	if c, n := connections.Load(), requests.Load(); c != 2 || n != 2 {
		t.Errorf("%d requests on %d connections", n, c)
	}
}

func TestCodeIsSpentAtAnEndpointWithItsOwnCertificateAuthority(t *testing.T) {
	var f *fixture
	token := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.server.serveToken(w, r) }))
	defer token.Close()
	roots := x509.NewCertPool()
	roots.AddCert(token.Certificate())
	f = newFixture(t, func(c *Config) {
		plain(c)
		c.Dialer = nil
		c.OAuth2 = newOAuth2(t, token.URL+"/token", func(o *oauth2.Config) {
			o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		})
	})
	f.wantConnected(f.connect(""))
}

func TestTokenRequestHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, plain)
		f.server.at("/token", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		back := f.authorize("")
		before := time.Now()
		f.wantFailure(f.browser.get(t, f.Flow, back), ErrServerUnavailable)
		if waited := time.Since(before); waited != exchangeDeadline {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestLifetimeStartsWhenTheTokenWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, plain)
		asked := time.Now()
		f.server.at("/token", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			f.server.serveToken(w, r)
		})
		f.wantConnected(f.connect(""))
		if want := asked.Add(time.Hour).UTC().Format(time.RFC3339); !strings.Contains(f.accepted[0], want) {
			t.Errorf("%s does not expire at %s", f.accepted[0], want)
		}
	})
}

func TestFieldsOfTheDocument(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		plain(c)
		c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
			o.Fields.AccessToken = "tokens.access"
			o.ResponseFields.AccessToken = "authed_user.access_token"
			o.ResponseFields.RefreshToken = "authed_user.refresh_token"
		})
	})
	f.server.at("/token", always(200, "application/json", `{"ok":true,"authed_user":{"access_token":"canary-a1","refresh_token":"canary-r1"}}`))
	f.wantConnected(f.connect(""))
	wantDocument(t, f.accepted[0], `{"tokens":{"access":"canary-a1"},"refresh_token":"canary-r1"}`)
}
