package caddymodule_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

func TestDoctorComparesWithTheIssuersMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		metadata string // SELF is the issuer
		settings string
		want     []string // in the findings; none: all is well
	}{
		"all as it says": {
			`{"issuer":"SELF","token_endpoint":"SELF/token","revocation_endpoint":"SELF/revoke","token_endpoint_auth_methods_supported":["none","client_secret_basic"]}`,
			"revocation_url SELF/revoke", nil,
		},
		"a trailing slash and a query are no difference": {
			`{"issuer":"SELF","token_endpoint":"SELF/token/?a=b","token_endpoint_auth_methods_supported":["none"]}`, "", nil,
		},
		"another token endpoint": {
			`{"issuer":"SELF","token_endpoint":"SELF/oauth2/token","token_endpoint_auth_methods_supported":["none"]}`, "",
			[]string{"token_url of provider crm is SELF/token, and its issuer's metadata say SELF/oauth2/token"},
		},
		"other endpoints": {
			`{"issuer":"SELF","revocation_endpoint":"SELF/r","authorization_endpoint":"SELF/a","userinfo_endpoint":"SELF/u","token_endpoint_auth_methods_supported":["none"]}`,
			"revocation_url SELF/revoke\nauthorization_url SELF/authorize\nuserinfo_url SELF/me",
			[]string{"revocation_url of provider crm is", "authorization_url of provider crm is", "userinfo_url of provider crm is"},
		},
		"a client authentication that it does not take": {
			`{"issuer":"SELF","token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_post"]}`, "",
			[]string{"client_auth of provider crm is none, and its issuer's metadata name private_key_jwt, client_secret_post"},
		},
		"a client authentication that goes without saying": {
			`{"issuer":"SELF"}`, "", []string{"client_auth of provider crm is none, and its issuer's metadata name client_secret_basic"},
		},
		"another issuer": {`{"issuer":"https://evil.example"}`, "", []string{"they name another issuer"}},
		"no metadata":    {"", "", []string{"cannot be had", "it has none"}},
	} {
		t.Run(name, func(t *testing.T) {
			var server *httptest.Server
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.metadata == "" || r.URL.Path != "/.well-known/openid-configuration" {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, strings.ReplaceAll(c.metadata, "SELF", server.URL))
			}))
			t.Cleanup(server.Close)
			s := administered(t, nil)
			self := func(text string) string { return strings.ReplaceAll(text, "SELF", server.URL) }
			s.start(t, self("provider crm {\noauth2 {\ntoken_url SELF/token\nclient_id app\nclient_auth none\nissuer SELF\n"+c.settings+"\n}\n}\n"), "upstream_auth crm 127.0.0.1:1")
			found, ok := "", false
			for _, f := range s.diagnose(t).Findings {
				if f.Check != "issuer" {
					continue
				}
				ok = f.OK
				found += f.Detail + "\n"
				if f.OK == (f.Remedy != "") {
					t.Errorf("got %+v", f)
				}
			}
			if ok != (len(c.want) == 0) {
				t.Errorf("got %q", found)
			}
			for _, want := range c.want {
				if !strings.Contains(found, self(want)) {
					t.Errorf("got %q, want %q", found, self(want))
				}
			}
		})
	}
}

// What has a private certificate authority is looked at by the provider's TLS settings.
func TestDoctorTrustsTheProvidersCertificateAuthority(t *testing.T) {
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint_auth_methods_supported":["none"]}`, server.URL)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	s := administered(t, nil)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(s.path("ca.pem"), authority, 0o600); err != nil {
		t.Fatal(err)
	}
	provider := func(name, setting string) string {
		return fmt.Sprintf("provider %s {\noauth2 {\ntoken_url %s/token\nclient_id app\nclient_auth none\nissuer %s\n%s\n}\n}\n", name, server.URL, server.URL, setting)
	}
	s.start(t, provider("private", "tls_ca "+s.path("ca.pem"))+provider("public", ""), "upstream_auth private 127.0.0.1:1")
	for _, f := range s.diagnose(t).Findings {
		if f.Check != "issuer" && f.Check != explain.CheckTokenEndpoint {
			continue
		}
		if private := strings.Contains(f.Detail, "provider private"); private != f.OK {
			t.Errorf("got %+v", f)
		}
	}
}
