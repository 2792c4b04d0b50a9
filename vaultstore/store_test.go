package vaultstore

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestNewStartsNothing(t *testing.T) {
	store, vault := newScripted(t, nil)
	if n := vault.count(""); n != 0 {
		t.Fatalf("%d requests before the first use", n)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
		t.Fatalf("a store closed before it was opened: %v", err)
	}
	if n := vault.count(""); n != 0 {
		t.Fatalf("%d requests after Close", n)
	}
}

func TestClosedStoreGoesOnWithItsToken(t *testing.T) {
	store, _ := newScripted(t, nil)
	if _, err := store.Get(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
	store.Close()
	store.Close()
	store.Open()
	if _, err := store.Get(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
}

func TestGetKeepsTheBytesOfTheDocument(t *testing.T) {
	const document = `{"id": 12345678901234567890,"f":1.50, "u":"\u003c"}`
	store, vault := newScripted(t, nil)
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/data/") {
			return false
		}
		fmt.Fprintf(w, `{"data":{"data":%s,"metadata":{"version":7,"created_time":"2026-01-02T03:04:05.678Z"}}}`, document)
		return true
	}
	doc, err := store.Get(t.Context(), secretKey)
	if err != nil {
		t.Fatal(err)
	}
	if string(doc.Data) != document || doc.Version != 7 || !doc.WrittenAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)) {
		t.Fatalf("got %s, version %d, written at %v", doc.Data, doc.Version, doc.WrittenAt)
	}
}

func TestPutSendsTheVersionAndTheDocument(t *testing.T) {
	store, vault := newScripted(t, nil)
	var got string
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.URL.Path == "/v1/secret/data/upstream-auth/billing/"+secretTenant {
			body, _ := io.ReadAll(r.Body)
			got = string(body)
		}
		return false
	}
	version, err := store.Put(t.Context(), secretKey, []byte(`{"n": 12345678901234567890}`), 3)
	if err != nil || version != 4 {
		t.Fatalf("version %d, error %v", version, err)
	}
	if want := `{"data":{"n":12345678901234567890},"options":{"cas":3}}`; got != want {
		t.Fatalf("sent %s, want %s", got, want)
	}
}

func TestEveryRequestCarriesNamespaceAndToken(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) { c.Namespace = "/team-a/sub/" })
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		login := strings.HasSuffix(r.URL.Path, "/login")
		if r.Header.Get("X-Vault-Namespace") != "team-a/sub" || r.Header.Get("X-Vault-Request") != "true" || login != (r.Header.Get("X-Vault-Token") == "") {
			t.Errorf("%s %s has headers %v", r.Method, r.URL.Path, r.Header)
		}
		return false
	}
	if _, err := store.Get(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
}

func TestWriteIsFollowedToTheActiveNodeWithItsBody(t *testing.T) {
	store, vault := newScripted(t, nil)
	var body string
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Host != "active.example" {
			return redirect("https://active.example"+r.URL.Path)(w, r)
		}
		content, _ := io.ReadAll(r.Body)
		body = string(content)
		return false
	}
	if _, err := store.Put(t.Context(), secretKey, []byte(`{"n":1}`), 3); err != nil {
		t.Fatal(err)
	}
	if want := `{"data":{"n":1},"options":{"cas":3}}`; body != want {
		t.Fatalf("the active node got %s, want %s", body, want)
	}
}

func TestWritesAreNeverRepeated(t *testing.T) {
	for _, status := range []int{400, 404, 412, 429, 500, 502, 503, 504} {
		store, vault := newScripted(t, nil)
		vault.fault = onDocument(status, "no")
		if _, err := store.Put(t.Context(), secretKey, []byte(`{}`), 0); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%d: Put: %v", status, err)
		}
		if err := store.Delete(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%d: Delete: %v", status, err)
		}
		if posts, deletes := vault.count("POST secret/"), vault.count("DELETE secret/"); posts != 1 || deletes != 1 {
			t.Errorf("%d: Put made %d requests, Delete %d", status, posts, deletes)
		}
	}
}

func TestLostRaceIsAConflict(t *testing.T) {
	store, vault := newScripted(t, nil)
	vault.fault = onDocument(400, "check-and-set parameter did not match the current version")
	if _, err := store.Put(t.Context(), secretKey, []byte(`{}`), 2); !errors.Is(err, credential.ErrConflict) || errors.Is(err, credential.ErrUnavailable) {
		t.Fatalf("error %v, want ErrConflict", err)
	}
}

func TestDocumentThatIsNoneIsNotSent(t *testing.T) {
	store, vault := newScripted(t, nil)
	if _, err := store.Put(t.Context(), secretKey, []byte(`["`+secretDocument+`"]`), 0); !errors.Is(err, credential.ErrInvalid) {
		t.Fatalf("error %v, want ErrInvalid", err)
	}
	if n := vault.count(""); n != 0 {
		t.Fatalf("%d requests", n)
	}
}

func TestForwardingIsGivenUpWhereItIsRefused(t *testing.T) {
	store, vault := newScripted(t, nil)
	var forwarded, plain int
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			return false
		}
		if r.Header.Get("X-Vault-Forward") == "" {
			plain++
			return false
		}
		forwarded++
		refuse(w, 400, "forwarding via header X-Vault-Forward disabled in configuration")
		return true
	}
	for range 3 {
		if _, err := store.Get(t.Context(), secretKey); err != nil {
			t.Fatal(err)
		}
	}
	if forwarded != 1 || plain != 3 {
		t.Fatalf("%d requests with the header, %d without; want 1 and 3", forwarded, plain)
	}
}

func TestReadsAskForTheActiveNode(t *testing.T) {
	store, vault := newScripted(t, nil)
	var forwarded int
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/secret/") && r.Header.Get("X-Vault-Forward") == "active-node" {
			forwarded++
		}
		return false
	}
	for range 3 {
		if _, err := store.Get(t.Context(), secretKey); err != nil {
			t.Fatal(err)
		}
	}
	if forwarded != 3 {
		t.Fatalf("%d of 3 requests had the header", forwarded)
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	operations := map[string]func(*Store) error{
		"Get":    func(s *Store) error { _, err := s.Get(t.Context(), secretKey); return err },
		"Put":    func(s *Store) error { _, err := s.Put(t.Context(), secretKey, []byte(`{}`), 3); return err },
		"Delete": func(s *Store) error { return s.Delete(t.Context(), secretKey) },
	}
	for name, operate := range operations {
		t.Run(name, func(t *testing.T) {
			store, vault := newScripted(t, nil)
			if err := operate(store); err != nil {
				t.Fatal(err)
			}
			age(store)
			vault.set(func() { vault.token = "another" })
			if err := operate(store); err != nil {
				t.Fatal(err)
			}
			vault.set(func() {
				if vault.logins != 2 {
					t.Errorf("%d logins, want 2", vault.logins)
				}
			})
		})
	}
}

func TestConcurrentRefusalsShareOneLogin(t *testing.T) {
	store, vault := newScripted(t, nil)
	if _, err := store.Get(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
	age(store)
	vault.set(func() { vault.token = "another" })
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := store.Get(t.Context(), secretKey); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := vault.count("PUT auth/approle/login"); n != 2 {
		t.Fatalf("%d logins, want 2", n)
	}
}

func TestRefusingPolicyCostsOneLoginASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		vault.fault = onDocument(403, "permission denied")
		start := time.Now()
		for time.Since(start) < 10*time.Second {
			if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		logins, revoked := vault.count("PUT auth/approle/login"), vault.count("POST auth/token/revoke-self")
		if logins < 5 || logins > 11 {
			t.Errorf("%d logins in 10 s", logins)
		}
		if revoked != logins-1 {
			t.Errorf("%d of %d replaced tokens were revoked", revoked, logins-1)
		}
	})
}

func TestVersion1IsReadOnly(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) { c.KVVersion = 1 })
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/sys/"):
			io.WriteString(w, `{"data":{"path":"secret/","type":"kv","options":null}}`)
		case r.URL.Path == "/v1/secret/upstream-auth/billing/"+secretTenant:
			io.WriteString(w, `{"data":{"api_key":"k"},"lease_duration":2764800}`)
		default:
			return false
		}
		return true
	}
	doc, err := store.Get(t.Context(), secretKey)
	if err != nil || string(doc.Data) != `{"api_key":"k"}` || doc.Version != 0 {
		t.Fatalf("got %s, version %d, error %v", doc.Data, doc.Version, err)
	}
	if _, err := store.Put(t.Context(), secretKey, []byte(`{}`), 0); !errors.Is(err, credential.ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	if err := store.Delete(t.Context(), secretKey); !errors.Is(err, credential.ErrReadOnly) {
		t.Errorf("Delete: %v", err)
	}
}
