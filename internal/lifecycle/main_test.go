package lifecycle

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// acme is the tenant of most tests.
const acme credential.Tenant = "acme"

// setup is a service on a store in memory, and a provider of API keys.
type setup struct {
	*testing.T
	store    *storetest.Memory
	cache    *credential.Cache
	service  *Service
	provider *upstream.Provider
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	s := &setup{T: t, store: storetest.NewMemory()}
	s.cache = credential.NewCache(s.store, credential.CacheOptions{})
	s.service = New(s.cache)
	s.provider = s.newProvider(keyHeader{s.template("{credential.api_key}")})
	return s
}

// keyHeader is a scheme that sends an API key.
type keyHeader struct{ value *template.Template }

func (keyHeader) Names() scheme.Names { return scheme.Names{Header: []string{"X-Api-Key"}} }

func (h keyHeader) Schema() json.RawMessage { return template.Schema(h.value) }

func (h keyHeader) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	value, err := h.value.ExecuteWith(c, template.Header)
	return apiKey(value), err
}

type apiKey string

func (k apiKey) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header.Set("X-Api-Key", string(k))
	return nil
}

// newProvider makes one with its scheme's own schema.
func (s *setup) newProvider(of scheme.Describer) *upstream.Provider {
	s.Helper()
	renewer, _ := of.(scheme.Renewer)
	schema, err := credential.CompileSchema(of.Schema())
	s.check(err)
	p, err := upstream.New(upstream.Provider{
		Provider: renew.NewProvider("billing", renewer, ""),
		Schemes:  []scheme.Scheme{of},
		Schemas:  []*credential.Schema{schema},
	})
	s.check(err)
	return p
}

// newOAuth2 makes a provider of OAuth 2.0.
func (s *setup) newOAuth2(auth oauth2.ClientAuth) *upstream.Provider {
	s.Helper()
	c := oauth2.Config{TokenURL: s.template("https://login.example.com/token"), Client: oauth2.Client{ClientID: s.template("my client"), ClientAuth: auth}}
	if auth != oauth2.ClientAuthNone {
		c.ClientSecrets = []oauth2.Secret{{Text: s.template("s3cret+&")}}
	}
	renewer, err := oauth2.New(c)
	s.check(err)
	return s.newProvider(renewer)
}

func (s *setup) template(text string) *template.Template {
	s.Helper()
	parsed, err := template.Parse(text, nil)
	s.check(err)
	return parsed
}

func (s *setup) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *setup) key() credential.Key { return s.provider.Key(acme) }

// put writes as the API does.
func (s *setup) put(document string) (*credential.Credential, error) {
	return s.service.Put(s.Context(), s.provider, acme, Change{Document: []byte(document), By: "api"})
}

// stored returns what the store holds, "" if nothing.
func (s *setup) stored() string {
	s.Helper()
	doc, err := s.store.Get(context.Background(), s.key())
	if err != nil {
		return ""
	}
	return string(doc.Data)
}

// used returns the value at a path of the credential that requests use, "" if there is none.
func (s *setup) used(path string) string {
	cred, err := s.cache.Get(s.Context(), s.key())
	if err != nil {
		return ""
	}
	return cred.Get(path).String()
}

// server is an upstream, or an application, that answers as told and notes requests.
type server struct {
	*httptest.Server
	requests chan *http.Request // with their forms parsed
}

func newServer(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{requests: make(chan *http.Request, 1000)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.requests <- r
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// count returns how many requests came since the last call.
func (s *server) count() int {
	n := len(s.requests)
	for range n {
		<-s.requests
	}
	return n
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// gone is the address of nobody.
func gone(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// quiet is a logger for who must give one.
var quiet = slog.New(slog.DiscardHandler)

// record returns the refresh protocol's own part of a document.
func record(t *testing.T, document string) map[string]string {
	t.Helper()
	var parsed map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &parsed); err != nil {
		t.Fatal(err)
	}
	fields := make(map[string]string)
	if raw := parsed[credential.ReservedField]; raw != nil {
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
	}
	return fields
}

// holdsSecret reports whether an error tells what it must not.
func holdsSecret(err error) bool {
	for _, secret := range []string{"key-of-acme", "refresh-1", "access-1", "s3cret", string(acme)} {
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), url.QueryEscape(secret)) {
			return true
		}
	}
	return false
}
