package ownschemes

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// caddy runs the program under test to its end.
func caddy(t *testing.T, dir string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program(t), args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var out, other bytes.Buffer
	command.Stdout, command.Stderr = &out, &other
	err = command.Run()
	return out.String(), other.String(), err
}

// adaptAndValidate returns the configuration that a Caddyfile with a provider makes, or
// what is wrong with it.
func adaptAndValidate(t *testing.T, provider string) (config, wrong string) {
	t.Helper()
	dir := t.TempDir()
	text := "{\n\tupstream_auth {\n\t\tstore local credentials.db {\n\t\t\tkey_file key\n\t\t}\n\t\tprovider billing {\n" + // six lines
		provider + "\n\t\t}\n\t}\n}\n\nhttp://127.0.0.1:8080 {\n\tupstream_auth billing https://api.billing.example\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, adapted, err := caddy(t, dir, "adapt", "--config", "Caddyfile")
	if err != nil {
		return "", adapted
	}
	if _, wrong, err := caddy(t, dir, "validate", "--config", "Caddyfile"); err != nil {
		return config, wrong
	}
	return config, ""
}

func TestModulesAreListed(t *testing.T) {
	out, other, err := caddy(t, t.TempDir(), "list-modules")
	if err != nil {
		t.Fatal(err, other)
	}
	modules := strings.Fields(out)
	for _, name := range []string{"api_key", "signature", "session", "header", "oauth2"} {
		if !slices.Contains(modules, "upstream_auth.schemes."+name) {
			t.Errorf("%s is not built in", name)
		}
	}
}

func TestCaddyfileBecomesJSON(t *testing.T) {
	text, wrong := adaptAndValidate(t, `
header X-Account {credential.account}
api_key
session {
	login https://login.billing.example/sessions
	reusable
}
signature key`)
	if wrong != "" {
		t.Fatal(wrong)
	}
	var config struct {
		Apps struct {
			UpstreamAuth struct {
				Providers map[string]struct{ Schemes json.RawMessage }
			} `json:"upstream_auth"`
		}
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	const want = `[{"name":"X-Account","scheme":"header","value":"{credential.account}"},{"scheme":"api_key"},` +
		`{"login":"https://login.billing.example/sessions","reusable":true,"scheme":"session"},{"key_field":"key","scheme":"signature"}]`
	if got := config.Apps.UpstreamAuth.Providers["billing"].Schemes; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCaddyfileErrorsNameTheLine(t *testing.T) {
	for lines, want := range map[string]string{
		"header X-Account {credential.account}\nsignature": "wrong argument count or unexpected line ending after 'signature', at Caddyfile:8",
		"signature {env.KEY}":                              "its argument is the name of a field in the credential, at Caddyfile:7",
		"api_key now":                                      "wrong argument count or unexpected line ending after 'now', at Caddyfile:7",
		"signatures key":                                   "unrecognized subdirective 'signatures' of provider, at Caddyfile:7",
		"session {\n\tlogin https://a.example\n\tspend\n}": "unrecognized subdirective 'spend' of session, at Caddyfile:9",
		"session {\n\tlogin http://a.example\n}":           "login: must be https, unless the host is a loopback address, at Caddyfile:9",
		// What others' schemes do beside each other is known when they are loaded.
		"session {\n\tlogin https://a.example\n}\nsession {\n\tlogin https://b.example\n}": "one scheme that renews credentials, and not two",
		"header x_signature {credential.a}\nsignature key":                                 "header X-Signature is set twice",
	} {
		if _, wrong := adaptAndValidate(t, lines); !strings.Contains(wrong, want) {
			t.Errorf("%s: got %s, want %s", lines, wrong, want)
		}
	}
}
