package scheme

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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

func template(t testing.TB, text string) *Template {
	t.Helper()
	parsed, err := ParseTemplate(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func newScheme(t testing.TB, o Options) *Scheme {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func resolve(t testing.TB, s *Scheme, document string) *Values {
	t.Helper()
	v, err := s.Resolve(newCredential(t, document))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
