package template

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

func parse(t testing.TB, text string) *Template {
	t.Helper()
	parsed, err := Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
