package oauth2

import (
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCredential(t testing.TB, document string) *credential.Credential {
	t.Helper()
	c, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func text(t testing.TB, s string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func newRenewer(t testing.TB, change func(*Config)) *Renewer {
	t.Helper()
	c := Config{TokenURL: text(t, "https://as.example/token"), Client: Client{ClientID: text(t, "id"), ClientSecrets: []Secret{{Text: text(t, "secret")}}}}
	if change != nil {
		change(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))

// granted is an answer to a request that was sent now.
func granted(body string) scheme.Response {
	return scheme.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body), At: now}
}
