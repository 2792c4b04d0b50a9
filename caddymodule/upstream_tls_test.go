package caddymodule_test

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

func TestUpstreamOverTLS(t *testing.T) {
	echo := newEcho(t)
	upstream := httptest.NewTLSServer(echo.Config.Handler)
	t.Cleanup(upstream.Close)
	address := strings.TrimPrefix(upstream.URL, "https://")
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	ca := s.path("upstream.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: upstream.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	verified := "tls_trust_pool file " + ca + "\n"
	_, port, _ := net.SplitHostPort(address)

	for name, c := range map[string]struct {
		allowed, settings, host string
		refused                 bool
	}{
		"Host is the upstream's":        {"127.0.0.1", "transport http {\ntls_insecure_skip_verify\n}", address, false},
		"server name and Host allowed":  {"example.com", "header_up Host example.com\ntransport http {\n" + verified + "tls_server_name example.com\n}", "example.com", false},
		"server name allowed, Host not": {"example.com", "transport http {\n" + verified + "tls_server_name example.com\n}", "", true},
		"Host allowed, server name not": {"127.0.0.1", "transport http {\n" + verified + "tls_server_name example.com\n}", "", true},
		"neither":                       {"api.example.com", "transport http {\ntls_insecure_skip_verify\n}", "", true},
		"another port":                  {"127.0.0.1:1", "transport http {\ntls_insecure_skip_verify\n}", "", true},
		"this port":                     {address, "transport http {\ntls_insecure_skip_verify\n}", address, false},
		"server name not verified":      {"example.com", "header_up Host example.com\ntransport http {\ntls_insecure_skip_verify\ntls_server_name example.com\n}", "", true},
		"server name without TLS":       {"example.com", "header_up Host example.com\ntransport http {\n" + verified + "tls_server_name example.com\ntls_except_ports " + port + "\n}", "", true},
		"the server name of a request":  {"example.com", "header_up Host example.com\ntransport http {\n" + verified + "tls_server_name {header.X-Server}\n}", "example.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			provider := "provider billing {\nallowed_hosts " + c.allowed + "\nheader X-Api-Key {credential.api_key}\n}"
			to := upstream.URL
			if c.refused { // where it is not known before a request comes, and so not refused before
				to = "{header.X-Upstream}"
				_, err := adapt(t, s.caddyfile(provider, "upstream_auth billing "+upstream.URL+" {\n"+c.settings+"\n}"))
				if outside := name != "server name allowed, Host not"; outside != (err != nil) || outside && !strings.Contains(err.Error(), "is not among allowed_hosts of provider billing, at Caddyfile:") {
					t.Errorf("adapted with error %v", err)
				}
			}
			s.start(t, provider, "upstream_auth billing "+to+" {\n"+c.settings+"\n}")
			res, body := s.get(t, "/", http.Header{"X-Tenant-Id": {"acme"}, "X-Server": {"example.com"}, "X-Upstream": {address}})
			if c.refused {
				if res.StatusCode != 502 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
					t.Errorf("got %s %q, want host_not_allowed", res.Status, res.Header.Get(proxy.HeaderError))
				}
				return
			}
			if res.StatusCode != 200 {
				t.Fatalf("got %s %q", res.Status, res.Header)
			}
			if got := decode(t, body); got.Host != c.host || got.Header.Get("X-Api-Key") != "k" {
				t.Errorf("the upstream saw Host %s and key %q, want Host %s", got.Host, got.Header.Get("X-Api-Key"), c.host)
			}
		})
	}
}
