package vaultstore

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestLoginsSendTheirFiles(t *testing.T) {
	cases := map[string]struct {
		auth       AuthConfig
		path, body string
	}{
		"approle":               {AuthConfig{Method: "approle", RoleID: "r", SecretIDFile: writeFile(t, " s\r\n")}, "auth/approle/login", `{"role_id":"r","secret_id":"s"}`},
		"approle, role in file": {AuthConfig{Method: "approle", RoleIDFile: writeFile(t, "r\n"), SecretIDFile: writeFile(t, "s"), Mount: "/ci/app/"}, "auth/ci/app/login", `{"role_id":"r","secret_id":"s"}`},
		"kubernetes":            {AuthConfig{Method: "kubernetes", Role: "sidecar", JWTFile: writeFile(t, "a.b.c\n")}, "auth/kubernetes/login", `{"jwt":"a.b.c","role":"sidecar"}`},
		"kubernetes elsewhere":  {AuthConfig{Method: "kubernetes", Role: "sidecar", JWTFile: writeFile(t, "a.b.c"), Mount: "k8s-eu"}, "auth/k8s-eu/login", `{"jwt":"a.b.c","role":"sidecar"}`},
		"jwt":                   {AuthConfig{Method: "jwt", Role: "sidecar", JWTFile: writeFile(t, "a.b.c\n")}, "auth/jwt/login", `{"jwt":"a.b.c","role":"sidecar"}`},
		"jwt, default role":     {AuthConfig{Method: "jwt", JWTFile: writeFile(t, "a.b.c\n"), Mount: "oidc"}, "auth/oidc/login", `{"jwt":"a.b.c"}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			store, vault := newScripted(t, func(cfg *Config) { cfg.Auth = c.auth })
			var body string
			vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v1/"+c.path {
					content, _ := io.ReadAll(r.Body)
					body = string(content)
				}
				return false
			}
			mustGet(t, store)
			if body != c.body {
				t.Errorf("sent %s, want %s", body, c.body)
			}
		})
	}
}

func TestLoginReadsItsFilesAnew(t *testing.T) {
	for _, method := range []string{MethodAppRole, MethodKubernetes, MethodJWT} {
		file := writeFile(t, "first")
		store, vault := newScripted(t, func(c *Config) {
			c.Auth = AuthConfig{Method: method, JWTFile: file, Role: "r"}
			if method == MethodAppRole {
				c.Auth = AuthConfig{Method: method, RoleID: "r", SecretIDFile: file}
			}
		})
		var body string
		vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/login") {
				content, _ := io.ReadAll(r.Body)
				body = string(content)
			}
			return false
		}
		mustGet(t, store)
		if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
			t.Fatal(err)
		}
		age(store)
		vault.set(func() { vault.token = "another" })
		mustGet(t, store)
		if !strings.Contains(body, `"second"`) {
			t.Errorf("%s: the second login sent %s", method, body)
		}
	}
}

func TestMissingLoginFileIsNamed(t *testing.T) {
	for _, auth := range []AuthConfig{
		{Method: "approle", RoleID: "r", SecretIDFile: "/nonexistent/file"},
		{Method: "approle", RoleIDFile: "/nonexistent/file", SecretIDFile: writeFile(t, "s")},
		{Method: "kubernetes", Role: "r", JWTFile: "/nonexistent/file"},
		{Method: "jwt", JWTFile: "/nonexistent/file"},
		{Method: "token_file", TokenFile: "/nonexistent/file"},
	} {
		store, _ := newScripted(t, func(c *Config) { c.Auth = auth })
		_, err := store.Get(t.Context(), secretKey)
		if !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/file") {
			t.Errorf("%s: error %v", auth.Method, err)
		}
	}
}
