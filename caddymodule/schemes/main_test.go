package schemes_test

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// module is what each scheme is, besides a [scheme.Scheme].
type module interface {
	caddy.Module
	caddy.Provisioner
	caddyfile.Unmarshaler
	scheme.Describer
	schemes.Explainer
}

// registered returns a new module of a scheme, as Caddy makes it.
func registered(t testing.TB, name string) module {
	t.Helper()
	info, err := caddy.GetModule("upstream_auth.schemes." + name)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := info.New().(module)
	if !ok {
		t.Fatalf("%s is a %T", name, info.New())
	}
	return m
}

// unmarshal reads lines of a Caddyfile that begin with the name of a scheme.
func unmarshal(t testing.TB, text string) (module, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser(text)
	if !d.Next() {
		t.Fatal("no scheme")
	}
	m := registered(t, d.Val())
	d.Prev()
	return m, m.UnmarshalCaddyfile(d)
}

func read(t testing.TB, text string) module {
	t.Helper()
	m, err := unmarshal(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newCredential(t testing.TB, document string) *credential.Credential {
	t.Helper()
	c, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bind(t testing.TB, s scheme.Scheme, document string) scheme.Authenticator {
	t.Helper()
	a, err := s.Bind(newCredential(t, document))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// apply authenticates a request by schemes, in their order.
func apply(t testing.TB, req *http.Request, document string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := bind(t, read(t, line), document).Authenticate(req, nil); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// newRequest makes one as a server reads it: with its path as it was sent.
func newRequest(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
