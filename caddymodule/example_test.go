package caddymodule_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func TestCaddyfileExampleIsValid(t *testing.T) {
	secrets := t.TempDir()
	for _, name := range []string{"vault-role-id", "vault-secret-id", "salesforce-client-secret", "app-token", "workspace-secret"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", secrets)
	t.Setenv("SALESFORCE_CLIENT_ID", "app")
	t.Setenv("WORKSPACE_KEY", "workspace")
	t.Setenv("VAULT_ADDR", "https://vault.example.com:8200")
	t.Chdir("..") // its paths start at the top of the repository

	text, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	wantValid(t, "Caddyfile.example", text)
}

// wantValid adapts a Caddyfile, without a warning, and validates what comes of it.
func wantValid(t *testing.T, name string, text []byte) {
	t.Helper()
	conf, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": name})
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(conf, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Error(err)
	}
}
