package bearer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "canary-secret-of-sixty-four-bytes-which-is-as-long-as-SHA-512-is"
	tenant = "canary-tenant"
	issuer = "canary-issuer"
)

// newVerifier makes one that minds no lifetime unless the configuration says so.
func newVerifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	c.MaxLifetime = cmp.Or(c.MaxLifetime, math.MaxInt64)
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withSecret makes a verifier of HS256 tokens.
func withSecret(t testing.TB) *Verifier {
	t.Helper()
	return newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, secret)}})
}

// withKeys makes a verifier of tokens that a key of set signed, with algorithms.
func withKeys(t testing.TB, set string, algorithms ...string) *Verifier {
	t.Helper()
	return newVerifier(t, Config{Token: Token{KeySetFile: writeFile(t, set), Algorithms: algorithms}})
}

func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	replaceFile(t, path, content)
	return path
}

func replaceFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// claims is a payload that is accepted, with more behind it.
func claims(more string) string {
	return fmt.Sprintf(`{"id":%q,"iss":%q,"exp":%d%s}`, tenant, issuer, time.Now().Add(time.Hour).Unix(), more)
}

func wantCaller(t testing.TB, v *Verifier, token string, want Caller) {
	t.Helper()
	got, err := v.Verify(t.Context(), "Bearer "+token)
	if err != nil || got != want {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
}

func wantAccepted(t testing.TB, v *Verifier, token string) {
	t.Helper()
	wantCaller(t, v, token, Caller{Tenant: tenant})
}

func wantRefused(t testing.TB, v *Verifier, token string, want error) {
	t.Helper()
	wantError(t, v, "Bearer "+token, want)
}

// wantError wants an error that tells nothing of the token or the secret.
func wantError(t testing.TB, v *Verifier, authorization string, want error) {
	t.Helper()
	got, err := v.Verify(t.Context(), authorization)
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v is of no kind", err)
	}
	if got != (Caller{}) {
		t.Errorf("a caller %+v comes with the error", got)
	}
	checkText(t, err, authorization)
}

func checkText(t testing.TB, err error, authorization string) {
	t.Helper()
	if err == nil {
		return
	}
	quoted := []string{"canary"}
	for part := range strings.FieldsFuncSeq(authorization, func(r rune) bool { return strings.ContainsRune(". {}:,", r) }) {
		if len(part) > len("Bearer") {
			quoted = append(quoted, part)
		}
	}
	for _, text := range quoted {
		if strings.Contains(err.Error(), text) {
			t.Errorf("error %q has %q in it", err, text)
		}
	}
}
