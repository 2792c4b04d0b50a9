package discovery

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzMetadata(f *testing.F) {
	client := NewClient(roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.EOF }), nil)
	f.Add([]byte(`{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a?x=1","jwks_uri":"https://as.example/k"}`))
	f.Add([]byte(`{"issuer":"https://as.example","code_challenge_methods_supported":["S256"],"userinfo_endpoint":"http://localhost/"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readMetadata(client, "https://as.example", body)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Errorf("error %v", err)
			}
			return
		}
		if m.Issuer != "https://as.example" || !json.Valid(body) {
			t.Errorf("took %s", body)
		}
		for _, endpoint := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.RevocationEndpoint, m.UserinfoEndpoint, m.KeysURI} {
			if endpoint != "" && !strings.HasPrefix(strings.ToLower(endpoint), "https://") {
				t.Errorf("took endpoint %s", endpoint)
			}
		}
	})
}
