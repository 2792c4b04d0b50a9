package enroll

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
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// acme is the tenant of most tests.
const acme credential.Tenant = "acme"

// setup is an enroller on a store in memory, and a provider of API keys.
type setup struct {
	*testing.T
	store    *storetest.Memory
	cache    *credential.Cache
	enroller *Enroller
	provider *Provider
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	s := &setup{T: t, store: storetest.NewMemory()}
	s.cache = credential.NewCache(s.store, credential.CacheOptions{})
	s.enroller = New(s.cache)
	key, err := scheme.ParseTemplate("{credential.api_key}", nil)
	s.check(err)
	s.provider = s.newProvider(scheme.Options{Headers: []scheme.Header{{Name: "X-Api-Key", Value: key}}})
	return s
}

// newProvider makes one with its scheme's own schema.
func (s *setup) newProvider(o scheme.Options) *Provider {
	s.Helper()
	made, err := scheme.New(o)
	s.check(err)
	schema, err := credential.CompileSchema(made.Schema())
	s.check(err)
	return &Provider{Name: "billing", Scheme: made, Schemas: []*credential.Schema{schema}}
}

// newOAuth2 makes a provider of OAuth 2.0.
func (s *setup) newOAuth2(auth scheme.ClientAuth) *Provider {
	s.Helper()
	o := &scheme.OAuth2{TokenURL: "https://login.example.com/token", ClientID: s.template("my client"), ClientAuth: auth}
	if auth != scheme.ClientAuthNone {
		o.ClientSecret = s.template("s3cret+&")
	}
	return s.newProvider(scheme.Options{OAuth2: o})
}

func (s *setup) template(text string) *scheme.Template {
	s.Helper()
	template, err := scheme.ParseTemplate(text, nil)
	s.check(err)
	return template
}

func (s *setup) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *setup) key() credential.Key { return s.provider.key(acme) }

// put writes as the API does.
func (s *setup) put(document string) (*credential.Credential, error) {
	return s.enroller.Put(s.Context(), s.provider, acme, Change{Document: []byte(document), By: "api"})
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
	t.Cleanup(func() {
		s.Close()
		shared.CloseIdleConnections()
	})
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
