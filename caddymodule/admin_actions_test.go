package caddymodule_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// authServer is an authorization server without memory.
type authServer struct {
	*httptest.Server
	refreshes, revocations atomic.Int64
	refuses                atomic.Bool
}

func newAuthServer(t *testing.T) *authServer {
	t.Helper()
	a := new(authServer)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		n := a.refreshes.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if a.refuses.Load() {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"canary-access-%d","refresh_token":"canary-refresh-%d","expires_in":3600}`, n, n)
	})
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, _ *http.Request) {
		a.revocations.Add(1)
		if a.refuses.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// provider is a Caddyfile's provider that is refreshed there.
func (a *authServer) provider(name, lines string) string {
	return fmt.Sprintf("provider %s {\noauth2 {\ntoken_url %s/token\nclient_id app\nclient_auth none\n%s\n}\n}\n", name, a.URL, lines)
}

const tokens = `{"access_token":"canary-access-0","refresh_token":"canary-refresh-0","expires_at":"2020-01-01T00:00:00Z"}`

func TestAdminRefreshes(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{key("acme"): tokens})
	s.start(t, auth.provider("billing", ""), "upstream_auth billing 127.0.0.1:1")
	res, body := s.ask(t, "POST", "billing/tenants/acme/refresh", "{}", nil)
	if res.StatusCode != 200 || auth.refreshes.Load() != 1 || strings.Contains(body, "canary") || !strings.Contains(body, `"status":"ready"`) {
		t.Fatalf("got %s %s after %d refreshes", res.Status, body, auth.refreshes.Load())
	}
	auth.refuses.Store(true)
	for range 2 {
		res, body = s.ask(t, "POST", "billing/tenants/acme/refresh", "{}", nil)
		wantCode(t, res, body, 409, "reauthorization_required")
	}
	if n := auth.refreshes.Load(); n != 2 {
		t.Errorf("a token that was refused for good was sent %d times", n-1)
	}
	res, body = s.ask(t, "POST", "billing/tenants/nobody/refresh", "{}", nil)
	wantCode(t, res, body, 404, "tenant_unknown")
}

func TestAdminRevokesAndDeletes(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{key("acme"): tokens, key("globex"): tokens})
	s.start(t, auth.provider("billing", "revocation_url "+auth.URL+"/revoke"), "upstream_auth billing 127.0.0.1:1")

	if res, body := s.ask(t, "POST", "billing/tenants/acme/revoke", "{}", nil); res.StatusCode != 200 || body != "{\"revoked\":true}\n" || auth.revocations.Load() != 2 {
		t.Errorf("got %s %s after %d revocations, want both tokens'", res.Status, body, auth.revocations.Load())
	}
	if res, _ := s.ask(t, "GET", "billing/tenants/acme", "", nil); res.StatusCode != 200 {
		t.Errorf("after the revocation: %s", res.Status)
	}
	if res, body := s.ask(t, "DELETE", "billing/tenants/acme", "", nil); body != "{\"deleted\":true,\"revoked\":true}\n" {
		t.Errorf("got %s %s", res.Status, body)
	}
	auth.refuses.Store(true)
	res, body := s.ask(t, "DELETE", "billing/tenants/globex", "", nil)
	wantCode(t, res, body, 502, "revocation_failed")
	if res, body := s.ask(t, "DELETE", "billing/tenants/globex?force=true", "", nil); body != "{\"deleted\":true,\"revoked\":false}\n" {
		t.Errorf("got %s %s", res.Status, body)
	}
}

// The authorization server's certificate is its own authority's, and it wants one.
func TestAuthorizationServerWithAPrivateAuthority(t *testing.T) {
	auth := newAuthServer(t)
	secure := httptest.NewUnstartedServer(auth.Config.Handler)
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	s := administered(t, map[credential.Key]string{key("acme"): tokens})
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	private, err := x509.MarshalPKCS8PrivateKey(secure.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		"as.pem": certificate, "as-key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(s.path(file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	provider := func(lines string) string {
		return strings.ReplaceAll(auth.provider("billing", "revocation_url "+auth.URL+"/revoke\n"+lines), auth.URL, secure.URL)
	}
	client := "tls_client_cert " + s.path("as.pem") + "\ntls_client_key " + s.path("as-key.pem")
	s.start(t, provider(client), "upstream_auth billing 127.0.0.1:1")
	res, body := s.ask(t, "POST", "billing/tenants/acme/revoke", "{}", nil)
	wantCode(t, res, body, 502, "revocation_failed")
	s.load(t, provider("tls_ca "+s.path("as.pem")+"\n"+client), "upstream_auth billing 127.0.0.1:1")
	if res, body := s.ask(t, "POST", "billing/tenants/acme/revoke", "{}", nil); res.StatusCode != 200 || auth.revocations.Load() != 2 {
		t.Errorf("got %s %s after %d revocations, want both tokens'", res.Status, body, auth.revocations.Load())
	}
}

func TestAdminMakesLinksToConnect(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, nil)
	s.start(t, auth.provider("billing", "authorization_url "+auth.URL+"/authorize"), "route {\nupstream_auth_connect billing {\nredirect_uris "+
		s.url+"/oauth/callback\nreturn_to https://app.example/\n}\nupstream_auth billing 127.0.0.1:1\n}")
	res, body := s.ask(t, "POST", "billing/tenants/acme/connect-link", `{"return_to":"https://app.example/settings"}`, nil)
	if res.StatusCode != 200 || !strings.Contains(body, `"url":"`+s.url+`/oauth/connect`) {
		t.Errorf("got %s %s", res.Status, body)
	}
	for _, refused := range []string{`{"return_to":"https://evil.example/"}`, `{"account":{"sub":"x"}}`, `{"account":{"sub":7}}`, `{"handoff":"x"}`, `{"other":1}`} {
		res, body = s.ask(t, "POST", "billing/tenants/acme/connect-link", refused, nil)
		wantCode(t, res, body, 400, "request_invalid")
	}
}

// A link that was withdrawn, alone or with all others, is of no use, and neither is one
// more than a tenant may have.
func TestLinksAreWithdrawn(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, nil)
	s.start(t, auth.provider("billing", "authorization_url "+auth.URL+"/authorize"), "route {\nupstream_auth_connect billing {\nredirect_uris "+
		s.url+"/oauth/callback\n}\nupstream_auth billing 127.0.0.1:1\n}")
	link := func(tenant string) string {
		t.Helper()
		res, body := s.ask(t, "POST", "billing/tenants/"+tenant+"/connect-link", "{}", nil)
		var made struct{ URL string }
		if err := json.Unmarshal([]byte(body), &made); err != nil || res.StatusCode != 200 {
			t.Fatalf("got %s %s", res.Status, body)
		}
		return strings.TrimPrefix(made.URL, s.url)
	}
	opens := func(link string, status int) {
		t.Helper()
		if res, body := s.get(t, link, nil); res.StatusCode != status {
			t.Errorf("got %s %s, want %d", res.Status, body, status)
		}
	}
	acme, globex := link("acme"), link("globex")
	opens(acme, 200)
	if res, body := s.ask(t, "DELETE", "billing/tenants/acme/connect-link", "", nil); body != "{\"withdrawn\":true}\n" {
		t.Errorf("got %s %s", res.Status, body)
	}
	opens(acme, 410)
	opens(globex, 200)
	if res, body := s.ask(t, "DELETE", "connect-links", "", nil); body != "{\"withdrawn\":true}\n" {
		t.Errorf("got %s %s", res.Status, body)
	}
	opens(globex, 400)

	for range links.MaxLinks {
		link("acme")
	}
	res, body := s.ask(t, "POST", "billing/tenants/acme/connect-link", "{}", nil)
	wantCode(t, res, body, 429, "too_many_links")
	if after, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || after < 800 || after > 900 {
		t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
	}
	opens(link("initech"), 200)
}
