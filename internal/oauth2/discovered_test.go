package oauth2

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
)

// newIssuer answers with metadata, in which %s is its own address.
func newIssuer(t *testing.T, metadata string) (address string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(metadata, "%s", server.URL)))
	}))
	t.Cleanup(server.Close)
	if !json.Valid([]byte(metadata)) {
		t.Fatal(metadata)
	}
	return server.URL, asked
}

func TestAnIssuerSaysAllThatIsNotSaid(t *testing.T) {
	for name, test := range map[string]struct {
		metadata string
		change   func(*Config)
		basic    bool
		want     string // of the error
	}{
		"basic unless it says so": {`{"issuer":"%s","token_endpoint":"%s/t"}`, nil, true, ""},
		"post":                    {`{"issuer":"%s","token_endpoint":"%s/t","token_endpoint_auth_methods_supported":["client_secret_post","none"]}`, nil, false, ""},
		"what is said counts": {`{"issuer":"%s","token_endpoint":"%s/t","token_endpoint_auth_methods_supported":["client_secret_post"]}`,
			func(c *Config) { c.ClientAuth = ClientAuthBasic }, true, ""},
		"no way with a secret": {`{"issuer":"%s","token_endpoint":"%s/t","token_endpoint_auth_methods_supported":["private_key_jwt"]}`, nil, false, "no way to authenticate"},
		"no endpoint":          {`{"issuer":"%s"}`, nil, false, "no token endpoint"},
		"another issuer":       {`{"issuer":"https://other.example","token_endpoint":"%s/t"}`, nil, false, "another issuer"},
		"in the clear":         {`{"issuer":"%s","token_endpoint":"http://as.example/t"}`, nil, false, "must be https"},
		"elsewhere":            {`{"issuer":"%s","token_endpoint":"https://evil.example/t"}`, nil, false, "token_hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer, asked := newIssuer(t, test.metadata)
			allowed, err := hosts.Parse([]string{"127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			r := newRenewer(t, func(c *Config) {
				c.Issuer, c.TokenURL, c.TokenHosts, c.Grant = issuer, nil, allowed, GrantClientCredentials
				if test.change != nil {
					test.change(c)
				}
			})
			for range 2 {
				req, _, err := r.Request(t.Context(), newCredential(t, `{}`))
				if test.want != "" {
					if err == nil || !strings.Contains(err.Error(), test.want) {
						t.Fatalf("%v, want %q", err, test.want)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, _, basic := req.BasicAuth(); req.URL.String() != issuer+"/t" || basic != test.basic {
					t.Errorf("%s, by Basic %v", req.URL, basic)
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("the issuer was asked %d times", n)
			}
		})
	}
}

func TestAnIssuerSaysWhereTokensAreRevoked(t *testing.T) {
	for metadata, want := range map[string]string{
		`{"issuer":"%s","token_endpoint":"%s/t","revocation_endpoint":"%s/r"}`: "/r",
		`{"issuer":"%s","token_endpoint":"%s/t"}`:                              "",
	} {
		issuer, _ := newIssuer(t, metadata)
		r := newRenewer(t, func(c *Config) { c.Issuer, c.TokenURL = issuer, nil })
		if got, err := r.RevocationEndpoint(t.Context()); err != nil || got != strings.TrimSuffix(issuer+want, map[bool]string{true: issuer}[want == ""]) {
			t.Errorf("%s, %v", got, err)
		}
	}
	if got, err := newRenewer(t, nil).RevocationEndpoint(t.Context()); got != "" || err != nil {
		t.Errorf("without an issuer: %s, %v", got, err)
	}
}
