package vaultstore

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// A mount whose version Vault does not tell is taken as configured.
func TestMountThatMayNotBeAskedForIsUsed(t *testing.T) {
	store, vault := newScripted(t, nil)
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/sys/") {
			refuse(w, 403, "preflight capability check returned 403")
			return true
		}
		return false
	}
	for range 3 {
		if _, err := store.Get(t.Context(), secretKey); err != nil {
			t.Fatal(err)
		}
	}
	if n := vault.count("GET sys/"); n > 2 {
		t.Fatalf("asked %d times", n)
	}
	vault.set(func() {
		previous := vault.fault
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			return previous(w, r) || onDocument(404)(w, r)
		}
	})
	if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrNotFound) {
		t.Fatalf("error %v, want ErrNotFound", err)
	}
}

func TestMountIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		mount, document := http.StatusForbidden, 0
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case !strings.HasPrefix(r.URL.Path, "/v1/sys/"):
				return document != 0 && onDocument(document)(w, r)
			case mount == http.StatusOK:
				io.WriteString(w, `{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}`)
			default:
				refuse(w, mount)
			}
			return true
		}
		mustGet(t, store)

		// Not found, and never confirmed.
		time.Sleep(2 * mountInterval)
		vault.set(func() { mount, document = http.StatusOK, 404 })
		_, err := store.Get(t.Context(), secretKey)
		if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "is KV version 1") {
			t.Fatalf("error %v", err)
		}

		// Known to be another one: nothing else is asked, and that once a second.
		asked, read := vault.count("GET sys/"), vault.count("GET secret/")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
		}
		if n := vault.count("GET sys/") - asked; n < 5 || n > 11 {
			t.Errorf("asked for the mount %d times in 10 s", n)
		}
		if n := vault.count("GET secret/") - read; n != 0 {
			t.Errorf("%d reads of a mount of the other version", n)
		}

		// Put right.
		vault.set(func() { vault.fault = nil })
		time.Sleep(2 * mountInterval)
		mustGet(t, store)

		// Confirmed: what is not there is not there.
		asked = vault.count("GET sys/")
		vault.set(func() { vault.fault = onDocument(404) })
		time.Sleep(2 * mountInterval)
		if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("error %v, want ErrNotFound", err)
		}
		if vault.count("GET sys/") != asked {
			t.Error("a confirmed mount was asked for again")
		}
	})
}

func TestJudgeMount(t *testing.T) {
	cases := []struct {
		body      string
		mount     string
		version   int
		confirmed bool
		wrong     string
	}{
		{`{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`, "secret", 2, true, ""},
		{`{"data":{"path":"ns/secret/","type":"kv","options":{"version":"2"}}}`, "secret", 2, true, ""},
		{`{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}`, "secret", 1, true, ""},
		{`{"data":{"path":"secret/","type":"kv","options":null}}`, "secret", 1, true, ""},
		{`{"data":{"path":"secret/","type":"generic","options":null}}`, "secret", 1, true, ""},
		{`{"data":{"path":"secret/","type":"kv","options":{}}}`, "secret", 2, false, `mount "secret" is KV version 1, but kv_version 2 is configured`},
		{`{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`, "secret", 1, false, `mount "secret" is KV version 2, but kv_version 1 is configured`},
		{`{"data":{"path":"pki/","type":"pki","options":null}}`, "pki", 2, false, `mount "pki" is not a KV secrets engine`},
		{`{"data":{"path":"a/","type":"kv","options":{"version":"2"}}}`, "a/b", 2, false, `there is no mount "a/b": that path lies in the mount "a"`},
		{`{"data":{}}`, "secret", 2, false, ""},
		{`{}`, "secret", 2, false, ""},
		{`<html>`, "secret", 2, false, ""},
	}
	for _, c := range cases {
		confirmed, wrong := judgeMount([]byte(c.body), c.mount, c.version)
		if confirmed != c.confirmed || (wrong == nil) != (c.wrong == "") || wrong != nil && wrong.Error() != c.wrong {
			t.Errorf("%s for %q version %d: %v, %v", c.body, c.mount, c.version, confirmed, wrong)
		}
	}
}
