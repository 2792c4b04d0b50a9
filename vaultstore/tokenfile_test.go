package vaultstore

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestFileThatHoldsNoTokenIsRefused(t *testing.T) {
	for _, content := range []string{"", " \n", "two words", "two\nlines", "bell\a", "umläut", strings.Repeat("x", maxSecretFile+1)} {
		name := writeFile(t, content)
		if _, err := readSecret(name); err == nil {
			t.Errorf("%.20q is accepted", content)
		} else if strings.Contains(err.Error(), "two") || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%q quotes the file", err)
		}
	}
}

func TestTokenFileIsReadWhenItChanges(t *testing.T) {
	file := writeFile(t, "first\n")
	store, vault := newScripted(t, func(c *Config) { c.Auth = AuthConfig{Method: MethodTokenFile, TokenFile: file} })
	vault.token = "first"
	mustGet(t, store)

	// Refused: read at once, though it was looked at a moment ago.
	vault.set(func() { vault.token = "second" })
	replaceFile(t, file, "second\n")
	mustGet(t, store)

	// Changed, the old one still good: used within a second or so.
	replaceFile(t, file, "third!\n")
	var used string
	vault.set(func() {
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			used = r.Header.Get("X-Vault-Token")
			vault.token = used
			return false
		}
	})
	eventually(t, 5*time.Second, func() error {
		mustGet(t, store)
		if used != "third!" {
			return fmt.Errorf("token is %q", used)
		}
		return nil
	})

	// Gone: the last one stays.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	forgetLook(store)
	mustGet(t, store)
	if n := vault.count("PUT ") + vault.count("POST "); n != 0 {
		t.Errorf("%d logins or renewals of a token that is not ours", n)
	}
}

// forgetLook makes the next use look at the token file.
func forgetLook(store *Store) {
	s := store.session.(*tokenFile)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = time.Time{}
}

func TestTokenFileRewrittenInPlaceIsReadAnew(t *testing.T) {
	file := writeFile(t, "token1")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	store, vault := newScripted(t, func(c *Config) { c.Auth = AuthConfig{Method: MethodTokenFile, TokenFile: file} })
	rewrite := func(token string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	vault.token = "token1"
	mustGet(t, store)

	// The same size, the same time: only a refusal tells.
	rewrite("token2", info.ModTime())
	forgetLook(store)
	mustGet(t, store)
	vault.set(func() { vault.token = "token2" })
	mustGet(t, store)

	// The same size, another time: seen without a refusal.
	rewrite("token3", info.ModTime().Add(time.Millisecond))
	forgetLook(store)
	vault.set(func() { vault.token = "token3" })
	before := vault.count("GET secret/")
	mustGet(t, store)
	if n := vault.count("GET secret/") - before; n != 1 {
		t.Errorf("%d requests for one read: it was refused first", n)
	}
}

func TestRefusedTokenFileStaysRefused(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) {
		c.Auth = AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(t, "revoked")}
	})
	vault.token = "another"
	_, err := store.Get(t.Context(), secretKey)
	if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "invalid token") {
		t.Fatalf("error %v", err)
	}
	if n := vault.count("GET secret/"); n != 1 {
		t.Errorf("%d requests with one refused token", n)
	}
}

// replaceFile does as a Vault Agent does: a new file, renamed over the old one.
func replaceFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		t.Fatal(err)
	}
}
