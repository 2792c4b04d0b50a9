package vaultstore

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Secrets that no error and no log line may contain.
const (
	secretTenant   = "tenant-canary@example.com"
	secretRoleID   = "role-id-canary"
	secretID       = "secret-id-canary"
	secretToken    = "hvs.token-canary"
	secretDocument = "document-canary"
)

var secretKey = credential.Key{Provider: "billing", Tenant: secretTenant}

// script is a Vault that does as a test says. It serves requests without a
// network, so that it also works in a synctest bubble.
type script struct {
	t *testing.T

	// fault answers a request in the place of what the script would do, by
	// returning true. It is called with mu held.
	fault func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []string // METHOD path
	token    string   // the last one given out
	lease    int      // seconds
	renewed  []int    // leases that renewals return; then lease
	logins   int
	renewals int
}

// count returns how many requests of this beginning there were.
func (v *script) count(prefix string) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, request := range v.requests {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// set changes the script between requests.
func (v *script) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	v.requests = append(v.requests, r.Method+" "+path)
	if v.fault != nil && v.fault(w, r) {
		return
	}
	switch {
	case strings.HasSuffix(path, "/login"):
		v.logins++
		v.token = fmt.Sprintf("%s-%d", secretToken, v.logins)
		fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, v.token, v.lease)
	case path == "sys/health":
		io.WriteString(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.0"}`)
	case r.Header.Get("X-Vault-Token") != v.token:
		refuse(w, http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
	case path == "auth/token/renew-self":
		lease := v.lease
		if v.renewals < len(v.renewed) {
			lease = v.renewed[v.renewals]
		}
		v.renewals++
		fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, v.token, lease)
	case path == "auth/token/revoke-self":
		w.WriteHeader(http.StatusNoContent)
	case path == "auth/token/lookup-self":
		fmt.Fprintf(w, `{"data":{"id":%q,"ttl":%d,"renewable":true,"policies":["default","upstream-auth"]}}`, v.token, v.lease)
	case path == "sys/capabilities-self":
		var asked struct{ Paths []string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			v.t.Error(err)
		}
		allowed := map[string][]string{}
		for _, path := range asked.Paths {
			allowed[path] = []string{"create", "delete", "list", "read", "update"}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": allowed})
	case path == "sys/internal/ui/mounts/secret":
		io.WriteString(w, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
	case r.URL.Query().Get("list") == "true":
		fmt.Fprintf(w, `{"data":{"keys":[%q]}}`, secretTenant)
	case r.Method == http.MethodGet:
		fmt.Fprintf(w, `{"data":{"data":{"access_token":%q},"metadata":{"version":3,"created_time":"2026-01-02T03:04:05.678Z"}}}`, secretDocument)
	case r.Method == http.MethodPost:
		io.WriteString(w, `{"data":{"version":4}}`)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func refuse(w http.ResponseWriter, status int, message ...string) {
	if message == nil {
		message = []string{}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": message})
}

// handlerTransport makes requests of a handler, in the caller's goroutine.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	response := recorder.Result()
	response.Request = r
	return response, nil
}

// newScripted makes a store, closed when the test ends, on a script.
func newScripted(t *testing.T, change func(*Config)) (*Store, *script) {
	t.Helper()
	vault := &script{t: t, lease: 3600}
	store := newOnHandler(t, vault, change)
	return store, vault
}

func newOnHandler(t *testing.T, handler http.Handler, change func(*Config)) *Store {
	t.Helper()
	return newOnTransport(t, handlerTransport{handler}, change)
}

func newOnTransport(t *testing.T, transport http.RoundTripper, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{
		Address: "https://vault.example:8200",
		Auth:    AuthConfig{Method: MethodAppRole, RoleID: secretRoleID, SecretIDFile: writeFile(t, secretID+"\n")},
	}
	if change != nil {
		change(&cfg)
	}
	store := newStore(t, cfg)
	client, err := newClient(&store.cfg, transport)
	if err != nil {
		t.Fatal(err)
	}
	store.client = client
	if s, ok := store.session.(*loginSession); ok {
		s.client = client
	}
	return store
}

// newStore makes a store that is closed when the test ends and whose log shows
// no secret.
func newStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	store, err := New(cfg, slog.New(slog.NewTextHandler(leakWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// leakWriter is a log that fails the test when a secret is written to it.
type leakWriter struct{ t *testing.T }

func (w leakWriter) Write(p []byte) (int, error) {
	checkNoSecret(w.t, string(p))
	w.t.Logf("log: %s", p)
	return len(p), nil
}

func checkNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"tenant-canary", secretRoleID, secretID, secretToken, secretDocument} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %q", secret, text)
		}
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// age makes the current token look so old that its refusal is a reason to log in.
func age(store *Store) {
	s := store.session.(*loginSession)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &vaultToken{s.current.token, time.Now().Add(-2 * minLoginInterval)}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
