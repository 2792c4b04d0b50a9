package upstream

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sets is a scheme that sets names to the field k of the credential.
type sets struct {
	names scheme.Names
	binds int // how often it was bound
}

func header(names ...string) *sets { return &sets{names: scheme.Names{Header: names}} }

func query(names ...string) *sets { return &sets{names: scheme.Names{Query: names}} }

func (s *sets) Names() scheme.Names { return s.names }

func (s *sets) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	s.binds++
	value, err := c.Text("k")
	if err != nil {
		return nil, err
	}
	return authenticatorFunc(func(req *http.Request) error {
		for _, name := range s.names.Header {
			req.Header.Set(name, value)
		}
		return nil
	}), nil
}

// companion is a scheme that does not say who makes a request.
type companion struct{ sets }

func (*companion) Companion() {}

type authenticatorFunc func(req *http.Request) error

func (f authenticatorFunc) Authenticate(req *http.Request, _ scheme.Body) error { return f(req) }

func newCredential(t testing.TB, document string) *credential.Credential {
	t.Helper()
	c, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustTemplate(t testing.TB, text string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// newRenewer makes a scheme of OAuth 2.0.
func newRenewer(t testing.TB, change func(*oauth2.Config)) *oauth2.Renewer {
	t.Helper()
	c := oauth2.Config{TokenURL: mustTemplate(t, "https://as.example/t"), Client: oauth2.Client{ClientID: mustTemplate(t, "id"), ClientAuth: oauth2.ClientAuthNone}}
	if change != nil {
		change(&c)
	}
	r, err := oauth2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newProvider makes one of schemes, the first renewer among which renews.
func newProvider(schemes ...scheme.Scheme) (*Provider, error) {
	var renewer scheme.Renewer
	for _, s := range schemes {
		if r, ok := s.(scheme.Renewer); ok && renewer == nil {
			renewer = r
		}
	}
	return New(Provider{Provider: renew.NewProvider("crm", renewer, ""), Schemes: schemes})
}

func mustProvider(t testing.TB, schemes ...scheme.Scheme) *Provider {
	t.Helper()
	p, err := newProvider(schemes...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// authenticated returns the header of a request that is authenticated.
func authenticated(t testing.TB, r *Ready) http.Header {
	t.Helper()
	req := &http.Request{Header: make(http.Header)}
	for _, a := range r.Authenticators {
		if err := a.Authenticate(req, noBody{}); err != nil {
			t.Fatal(err)
		}
	}
	return req.Header
}
