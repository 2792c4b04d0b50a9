package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	environmentName = regexp.MustCompile(`\{(?:env\.|\$)([A-Z0-9_]+)\}`)
	fileOfExample   = regexp.MustCompile(`\{env\.CREDENTIALS_DIRECTORY\}/([a-z0-9._-]+)`)
)

// What a Caddyfile of the examples names is made up: variables, and files below
// CREDENTIALS_DIRECTORY, of which those that end in -key.pem have a key.
func TestExamplesAreValid(t *testing.T) {
	var files []string
	for _, dir := range []string{"schemes", "apis", "ways"} {
		found, err := filepath.Glob("../examples/" + dir + "/*.Caddyfile")
		if err != nil || len(found) == 0 {
			t.Fatalf("no examples of %s: %v", dir, err)
		}
		files = append(files, found...)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".Caddyfile"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(file, "/apis/") && !strings.Contains(string(text), "# https://") {
				t.Error("it does not say what documentation it follows")
			}
			secrets := t.TempDir()
			t.Setenv("VAULT_ADDR", "https://vault.example.com:8200")
			for _, name := range environmentName.FindAllSubmatch(text, -1) {
				t.Setenv(string(name[1]), "made-up")
			}
			t.Setenv("CREDENTIALS_DIRECTORY", secrets)
			for _, name := range fileOfExample.FindAllSubmatch(text, -1) {
				content := []byte("made up")
				if strings.HasSuffix(string(name[1]), "-key.pem") {
					content = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
				}
				if err := os.WriteFile(filepath.Join(secrets, string(name[1])), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			wantValid(t, file, text)
		})
	}
}
