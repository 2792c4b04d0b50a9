package ownschemes

import (
	"errors"
	"hash"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestReadmeShowsTheSmallestScheme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("apikey.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(source)+"```\n") {
		t.Error("README.md shows another scheme than that of apikey.go")
	}
}

// text is a body.
type text string

func (b text) Hash(h hash.Hash) error {
	h.Write([]byte(b))
	return nil
}

// A scheme can be tested without a sidecar.
func TestSignatureIsOfMethodPathAndBody(t *testing.T) {
	c, err := credential.New(credential.Document{Data: []byte(`{"key":"secret"}`)})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := (&Signature{KeyField: "key"}).Bind(c)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodPost, "https://api.example/invoices?page=2", nil)
	if err := signer.Authenticate(req, text("invoice 1")); err != nil {
		t.Fatal(err)
	}
	// printf 'POST\n/invoices?page=2\n%s' $(printf 'invoice 1' | sha256sum | cut -d' ' -f1) | openssl dgst -sha256 -hmac secret
	const want = "b98dad240f4790d2e064464aa2df7b6d594d251525afd2c048f8991b1e45bae1"
	if got := req.Header.Get("X-Signature"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSessionMergesWhatAnAnswerBrings(t *testing.T) {
	const document = `{"account":12345678901234567890,"expires_at":"x","session":"s1","ticket":"t1","_upstream_auth":{"nonce":"n"}}`
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status  int
		body    string
		want    string // of the document
		refused *scheme.RefusedError
		unused  bool // of no use to requests
	}{
		"all": {status: 200, body: `{"session":"s2","next_ticket":"t2","lifetime":60}`,
			want: `{"_upstream_auth":{"nonce":"n"},"account":12345678901234567890,"expires_at":"2026-03-01T11:01:00Z","session":"s2","ticket":"t2"}`},
		"a session alone": {status: 200, body: `{"session":"s2"}`,
			want: `{"_upstream_auth":{"nonce":"n"},"account":12345678901234567890,"session":"s2","ticket":"t1"}`},
		"a ticket alone": {status: 200, body: `{"next_ticket":"t2"}`, unused: true,
			want: `{"_upstream_auth":{"nonce":"n"},"account":12345678901234567890,"expires_at":"x","session":"s1","ticket":"t2"}`},
		"nonsense":     {status: 200, body: `hunter2`, unused: true},
		"no more":      {status: 403, body: `hunter2`, refused: &scheme.RefusedError{Permanent: true}},
		"busy":         {status: 503, body: `hunter2`, refused: &scheme.RefusedError{Unspent: true}},
		"who can tell": {status: 500, body: `hunter2`, refused: &scheme.RefusedError{}},
	} {
		got, err := new(Session).Merge([]byte(document), scheme.Response{Status: c.status, Body: []byte(c.body), At: at})
		refused, ok := errors.AsType[*scheme.RefusedError](err)
		if string(got) != c.want || (err != nil) != (c.unused || c.refused != nil) || ok != (c.refused != nil) || ok && *refused != *c.refused {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes the answer: %v", name, err)
		}
	}
}
