package login_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))

func newCredential(t testing.TB, document string) *credential.Credential {
	t.Helper()
	c, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lookup is of an environment with one variable.
func lookup(name string) (string, error) {
	if name == "env.KEY" {
		return "env-key", nil
	}
	return "", errors.New("unknown placeholder")
}

// userAndPassword is the simplest login.
var userAndPassword = login.Request{
	URL:  "https://api.example/login",
	JSON: map[string]string{"user": "{credential.user}", "password": "{credential.password}"},
}

func newRenewer(t testing.TB, c login.Config) *login.Renewer {
	t.Helper()
	if c.Requests == nil {
		c.Requests = []login.Request{userAndPassword}
	}
	r, err := login.New(c, lookup)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func answered(status int, contentType, body string, header ...string) scheme.Response {
	h := http.Header{"Content-Type": {contentType}}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return scheme.Response{Status: status, Header: h, Body: []byte(body), At: now}
}

// serve serves one path after the other.
func serve(t testing.TB, handlers map[string]http.HandlerFunc) (url string) {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range handlers {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// bodyOf reads what a request sends.
func bodyOf(t testing.TB, req *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
