package vaultstore

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// The environment of the vault command names another Vault, another namespace
// and a token that may everything.
func TestEnvironmentOfVaultIsIgnored(t *testing.T) {
	v := startVault(t)
	cfg := v.byToken("default")
	ca := newAuthority(t).file(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": v.RootToken,
		"VAULT_NAMESPACE": "nowhere", "VAULT_HEADERS": `{"X-Canary":"1"}`, "VAULT_WRAP_TTL": "60s", "VAULT_MFA": "x:1",
		"VAULT_HTTP_PROXY": "http://127.0.0.1:1", "VAULT_PROXY_ADDR": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1",
		"VAULT_MAX_RETRIES": "9", "VAULT_CLIENT_TIMEOUT": "1ns", "VAULT_RATE_LIMIT": "0.0001:1", "VAULT_SRV_LOOKUP": "true",
		"VAULT_CACERT": ca, "VAULT_SKIP_VERIFY": "true", "VAULT_TLS_SERVER_NAME": "nowhere", "VAULT_DISABLE_REDIRECTS": "true",
	} {
		t.Setenv(name, value)
	}
	key := credential.Key{Provider: "p", Tenant: "acme"}
	for range 3 {
		_, err := newStore(t, cfg).Get(t.Context(), key)
		if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "permission denied") {
			t.Fatalf("with a token that may nothing: error %v, want permission denied", err)
		}
	}
	if err := (&Config{Auth: cfg.Auth}).Validate(); err == nil {
		t.Error("the address was taken from the environment")
	}

	// Nor are headers, namespace and response wrapping.
	store, vault := newScripted(t, nil)
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		for _, header := range []string{"X-Canary", "X-Vault-Namespace", "X-Vault-Wrap-Ttl", "X-Vault-Mfa"} {
			if r.Header.Get(header) != "" {
				t.Errorf("%s %s has the header %s", r.Method, r.URL.Path, header)
			}
		}
		if r.Header.Get("X-Vault-Token") == v.RootToken {
			t.Errorf("%s %s has the token of the environment", r.Method, r.URL.Path)
		}
		return false
	}
	mustGet(t, store)
}

// What cannot be ignored, because the client's constructor fails, is at least said.
func TestMalformedEnvironmentIsNamed(t *testing.T) {
	cfg := validConfig()
	for name, value := range map[string]string{
		"VAULT_CACERT": "/nonexistent/ca", "VAULT_SKIP_VERIFY": "perhaps", "VAULT_PROXY_ADDR": "http://user:pass-canary@[",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			_, err := New(cfg, nil)
			if err == nil || !strings.Contains(err.Error(), "VAULT_* environment variables") {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), "pass-canary") {
				t.Errorf("%q contains a password", err)
			}
		})
	}
}
