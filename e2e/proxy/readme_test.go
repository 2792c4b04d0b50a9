package proxy

import (
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// The README's Caddyfile answers a legacy app by whatever name that has for it: never
// with the empty 200 that Caddy has for a Host that no site is for, which an app takes
// for success.
func TestReadmesCaddyfileAnswersByAnyName(t *testing.T) {
	w := world.New(t)
	address, err := process.FreeAddress()
	w.Check(err)
	_, port, err := net.SplitHostPort(address)
	w.Check(err)
	api := upstream.ServeTLS(w.API)
	w.Serve(api)
	w.File("roots.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})))
	w.StartText(func(admin string) string {
		caddyfile := readmesCaddyfile(w)
		for old, replacement := range map[string]string{
			"https://vault.example.com:8200":            w.Tap.URL,
			"role_id_file role-id":                      "role_id_file " + filepath.Join(w.Files, "role-id"),
			"secret_id_file secret-id":                  "secret_id_file " + filepath.Join(w.Files, "secret-id"),
			"allowed_hosts api.crm.example.com":         "allowed_hosts 127.0.0.1",
			"https://login.crm.example.com/oauth/token": w.AuthURL + "/token",
			"client_id my-app":                          "client_id sidecar",
			"https://api.crm.example.com":               api.URL,
			":8080 {":                                   ":" + port + " {",
		} {
			if !strings.Contains(caddyfile, old) {
				t.Fatalf("the README's Caddyfile has no %q", old)
			}
			caddyfile = strings.Replace(caddyfile, old, replacement, 1)
		}
		caddyfile = regexp.MustCompile(`(?m)^ +admin .*\n`).ReplaceAllString(caddyfile, "")
		return strings.Replace(caddyfile, "{\n", "{\nadmin "+admin+"\n", 1)
	}, "CRM_CLIENT_SECRET="+w.Read("client-secret"), "SSL_CERT_FILE="+filepath.Join(w.Files, "roots.pem"))
	tokens, err := w.Auth.Seed("acme")
	w.Check(err)
	_, err = w.Vault.Root.KVv2("secret").Put(w.Ctx, "upstream-auth/crm/acme", map[string]any{"access_token": tokens.Access, "refresh_token": tokens.Refresh})
	w.Check(err)

	for _, host := range []string{"127.0.0.1", "localhost", "sidecar", "sidecar.internal"} {
		t.Run(host, func(t *testing.T) {
			output, err := programs.Run(w.Ctx, "curl", "-sS", "-f", "--resolve", host+":"+port+":127.0.0.1",
				"-H", "X-Tenant-ID: acme", "http://"+host+":"+port+"/v1/orders")
			if err != nil || !strings.Contains(string(output), `"Tenant":"acme"`) {
				t.Errorf("answer %q, %v", output, err)
			}
		})
	}
}

// readmesCaddyfile returns what the README has one write into a Caddyfile.
func readmesCaddyfile(w *world.World) string {
	w.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	w.Check(err)
	_, rest, found := strings.Cut(string(readme), "**4. Write a `Caddyfile`:**\n\n")
	if !found {
		w.Fatal("the README has no Caddyfile")
	}
	var caddyfile strings.Builder
	for line := range strings.Lines(rest) {
		if line != "\n" && !strings.HasPrefix(line, "    ") {
			break
		}
		caddyfile.WriteString(line)
	}
	return caddyfile.String()
}
