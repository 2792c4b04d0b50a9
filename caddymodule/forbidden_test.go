package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// startOnVault runs Caddy on a Vault whose policy answers by the request's method and
// path below the mount.
func (s *sidecar) startOnVault(t *testing.T, allows func(method, path string) bool) {
	t.Helper()
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, below := strings.CutPrefix(r.URL.Path, "/v1/secret/")
		switch {
		case r.URL.Path == "/v1/sys/internal/ui/mounts/secret":
			io.WriteString(w, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
		case !below || !allows(r.Method, path):
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`)
		case r.URL.Query().Get("list") == "true":
			io.WriteString(w, `{"data":{"keys":["acme"]}}`)
		default:
			io.WriteString(w, `{"data":{"data":{"api_key":"k"},"metadata":{"version":3,"created_time":"2026-01-02T03:04:05Z"}}}`)
		}
	}))
	t.Cleanup(vault.Close)
	if err := os.WriteFile(s.path("token"), []byte("hvs.canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	local := fmt.Sprintf("store local %s {\n\t\t\tkey_file %s\n\t\t}", s.path("credentials.db"), s.path("key"))
	text := strings.Replace(s.caddyfile(apiKey, "upstream_auth billing 127.0.0.1:1"), local,
		fmt.Sprintf("journal %s\nstore vault {\naddress %s\nauth token_file %s\n}", s.path("journal"), vault.URL, s.path("token")), 1)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	if err := caddy.Load(conf, true); err != nil {
		t.Fatal(err)
	}
}

func TestAdminSaysWhatThePolicyForbids(t *testing.T) {
	for _, c := range []struct {
		allowed            map[string]bool // methods for documents, and "LIST"
		method, path, body string
		want               string
	}{
		{map[string]bool{"GET": true}, "GET", "billing/tenants", "", "does not allow list on secret/metadata/upstream-auth/*"},
		{map[string]bool{"LIST": true}, "GET", "billing/tenants", "", "does not allow read on secret/data/upstream-auth/*"},
		{nil, "GET", "billing/tenants/acme", "", "does not allow read on secret/data/upstream-auth/*"},
		{map[string]bool{"GET": true}, "PUT", "billing/tenants/acme", `{"api_key":"n"}`, "does not allow create or update on secret/data/upstream-auth/*"},
		{map[string]bool{"GET": true}, "DELETE", "billing/tenants/acme", "", "does not allow delete on secret/data/upstream-auth/*"},
	} {
		t.Run(c.method+" "+c.path+" "+c.want, func(t *testing.T) {
			s := administered(t, nil)
			s.startOnVault(t, func(method, path string) bool {
				if strings.HasPrefix(path, "metadata/") {
					method = "LIST"
				}
				return c.allowed[method]
			})
			res, body := s.ask(t, c.method, c.path, c.body, nil)
			wantCode(t, res, body, 503, "store_unavailable")
			if !strings.Contains(body, c.want) {
				t.Errorf("got %s, want that the policy %s", body, c.want)
			}
			if strings.Contains(body, "acme") || strings.Contains(body, "canary") {
				t.Errorf("the error names the tenant or the token: %s", body)
			}
		})
	}
}
