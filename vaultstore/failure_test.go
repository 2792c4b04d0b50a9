package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// onDocument makes a fault of the requests for documents.
func onDocument(status int, messages ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			return false
		}
		refuse(w, status, messages...)
		return true
	}
}

func TestFailuresAreUnavailableAndLeakNothing(t *testing.T) {
	leak := fmt.Sprintf("boom at secret/data/upstream-auth/billing/%s with %s and %s", secretTenant, secretDocument, secretToken)
	faults := map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
	}{
		"sealed":         {onDocument(503, "Vault is sealed"), "Vault is sealed"},
		"internal":       {onDocument(500, leak), "status 500"},
		"standby":        {onDocument(429, leak), "status 429"},
		"no route":       {onDocument(404, "no handler for route \""+leak+"\". route entry not found."), "no handler for route"},
		"bad request":    {onDocument(400, leak), "status 400"},
		"precondition":   {onDocument(412, leak), "status 412"},
		"policy":         {onDocument(403, "1 error occurred:\n\t* permission denied\n\n", leak), "the store's policy does not allow "},
		"many words":     {onDocument(502, make([]string, 100)...), "status 502"},
		"redirect":       {redirect("http://elsewhere.example/" + secretTenant), "status 307"},
		"not JSON":       {raw(200, "<html>"+leak), "status 200"},
		"empty":          {raw(200, ""), "status 200"},
		"wrapped":        {raw(200, `{"data":null,"wrap_info":{"token":"`+secretToken+`"}}`), "status 200"},
		"another's 404":  {raw(404, "<html>"+leak), "status 404"},
		"warning":        {raw(404, `{"errors":[],"warnings":["Invalid path for a versioned K/V secrets engine. `+leak+`"]}`), "Invalid path"},
		"enormous":       {raw(200, `{"data":{"data":{"a":"`+strings.Repeat("x", maxAnswer)+`"}}}`), "too large"},
		"enormous error": {raw(500, strings.Repeat("x", maxAnswer+1)), "too large"},
	}
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			store, vault := newScripted(t, nil)
			vault.fault = c.fault
			check := func(operation string, err error) {
				t.Helper()
				if !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound) {
					t.Errorf("%s: error %v, want ErrUnavailable", operation, err)
				}
				for e := err; e != nil; e = errors.Unwrap(e) {
					checkNoSecret(t, fmt.Sprintf("%v %+v %#v", e, e, e))
				}
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: error %q lacks %q", operation, err, c.want)
				}
				if len(err.Error()) > 1000 {
					t.Errorf("%s: an error of %d bytes", operation, len(err.Error()))
				}
			}
			_, err := store.Get(t.Context(), secretKey)
			check("Get", err)
			_, err = store.Put(t.Context(), secretKey, []byte(`{"a":"`+secretDocument+`"}`), 1)
			check("Put", err)
			if c.want != "status 200" {
				check("Delete", store.Delete(t.Context(), secretKey))
			}
		})
	}
}

func raw(status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			return false
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

func redirect(to string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/v1/secret/") {
			return false
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
}

// brokenTransport fails requests for documents with an error of its own.
type brokenTransport struct {
	http.RoundTripper
	err func(*http.Request) error
}

func (b brokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/v1/secret/") {
		return nil, b.err(r)
	}
	return b.RoundTripper.RoundTrip(r)
}

func TestNetworkErrorsLeakNothing(t *testing.T) {
	cases := map[string]struct {
		err  func(*http.Request) error
		want string
	}{
		"unknown": {func(r *http.Request) error { return fmt.Errorf("cannot do %s", r.URL) }, errConnection.Error()},
		"wrapped": {func(r *http.Request) error {
			return fmt.Errorf("%s: %w", r.URL, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET})
		}, "read tcp: connection reset by peer"},
		"cut off":          {func(r *http.Request) error { return fmt.Errorf("%s: %w", r.URL, io.EOF) }, "unexpected EOF"},
		"handshake":        {func(*http.Request) error { return timeoutError{} }, "timeout"},
		"answer unheeded":  {func(r *http.Request) error { return fmt.Errorf("malformed HTTP response %q", r.URL) }, errConnection.Error()},
		"certificate gone": {func(*http.Request) error { return &os.PathError{Op: "open", Path: "/cert", Err: os.ErrNotExist} }, "open /cert"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			vault := &script{t: t, lease: 3600}
			store := newOnTransport(t, brokenTransport{handlerTransport{vault}, c.err}, nil)
			_, getErr := store.Get(t.Context(), secretKey)
			_, putErr := store.Put(t.Context(), secretKey, []byte(`{"a":"`+secretDocument+`"}`), 1)
			for _, err := range []error{getErr, putErr, store.Delete(t.Context(), secretKey)} {
				if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				checkNoSecret(t, fmt.Sprintf("%v %+v %#v", err, err, err))
			}
		})
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "slow at " + secretTenant }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestStatusErrorCanBeAsked(t *testing.T) {
	store, vault := newScripted(t, nil)
	vault.fault = onDocument(503, "Vault is sealed")
	_, err := store.Get(t.Context(), secretKey)
	var status *StatusError
	if !errors.As(err, &status) || status.Status != 503 || len(status.Messages) != 1 || status.Messages[0] != "Vault is sealed" {
		t.Fatalf("error %v holds %+v", err, status)
	}
}

func TestReadTimesOut(t *testing.T) {
	for _, path := range []string{"/v1/auth/approle/login", "/v1/sys/", "/v1/secret/"} {
		synctest.Test(t, func(t *testing.T) {
			store := newOnHandler(t, hanging(t, path), func(c *Config) { c.Timeout = 3 * time.Second })
			start := time.Now()
			_, err := store.Get(t.Context(), secretKey)
			if !errors.Is(err, credential.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", path, err)
			}
			checkNoSecret(t, err.Error())
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("%s: took %v, want 3s", path, took)
			}
		})
	}
}

func TestWriteTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newOnHandler(t, hanging(t, "/v1/secret/"), nil)
		for want, bound := range map[time.Duration]time.Duration{5 * time.Second: 0, time.Second: time.Second, time.Minute: time.Minute} {
			ctx, cancel := t.Context(), func() {}
			if bound > 0 {
				ctx, cancel = context.WithTimeout(ctx, bound)
			}
			start := time.Now()
			if _, err := store.Put(ctx, secretKey, []byte(`{}`), 0); !errors.Is(err, credential.ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
			if took := time.Since(start); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
			cancel()
		}
	})
}

// hanging is a script that never answers requests of this path.
func hanging(t *testing.T, prefix string) http.Handler {
	vault := &script{t: t, lease: 3600}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix) {
			<-r.Context().Done()
			return
		}
		vault.ServeHTTP(w, r)
	})
}
