package vaultstore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// waitUntil lets the bubble's clock run, checking each step of a second.
func waitUntil(t *testing.T, within time.Duration, done func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > within {
			t.Fatalf("not within %v", within)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(start)
}

func mustGet(t *testing.T, store *Store) {
	t.Helper()
	if _, err := store.Get(t.Context(), secretKey); err != nil {
		t.Fatal(err)
	}
}

func TestTokenIsRenewedInTimeForAsLongAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		store.Open()
		for range 24 * 60 {
			time.Sleep(time.Minute)
			mustGet(t, store)
		}
		vault.set(func() {
			// A lease of an hour is renewed after 36 to 42 minutes.
			if vault.logins != 1 || vault.renewals < 33 || vault.renewals > 41 {
				t.Errorf("%d logins, %d renewals in 24 hours", vault.logins, vault.renewals)
			}
		})
	})
}

func TestTokenAtItsGreatestAgeIsReplacedByALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		vault.renewed = []int{3600, 3600, 1200}
		store.Open()
		waitUntil(t, 3*time.Hour, func() bool { return vault.count("POST auth/token/renew-self") == 3 })
		// The lease of 1200 s, and no renewal of it.
		took := waitUntil(t, 1200*time.Second, func() bool { return vault.count("PUT auth/approle/login") == 2 })
		if took < 700*time.Second || vault.count("POST auth/token/renew-self") != 3 {
			t.Errorf("login %v after the short renewal", took)
		}
		if n := vault.count("POST auth/token/revoke-self"); n != 0 {
			t.Errorf("%d tokens revoked that requests may still use", n)
		}
	})
}

func TestTokenThatCannotBeRenewedIsReplacedBeforeItsEnd(t *testing.T) {
	answers := map[string]func(http.ResponseWriter, *http.Request) bool{
		"not renewable": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/login") {
				return false
			}
			io.WriteString(w, `{"auth":{"client_token":"batch","lease_duration":3600,"renewable":false}}`)
			return true
		},
		"refused": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/renew-self") {
				return false
			}
			refuse(w, 403, "permission denied")
			return true
		},
	}
	for name, fault := range answers {
		synctest.Test(t, func(t *testing.T) {
			store, vault := newScripted(t, nil)
			vault.fault = fault
			store.Open()
			took := waitUntil(t, time.Hour, func() bool { return vault.count("PUT auth/approle/login") == 2 })
			if took < 35*time.Minute || took > 43*time.Minute {
				t.Errorf("%s: second login after %v", name, took)
			}
		})
	}
}

func TestTokenWithoutALeaseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		vault.lease = 0
		store.Open()
		time.Sleep(30 * 24 * time.Hour)
		mustGet(t, store)
		if n := vault.count("PUT "); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

func TestRenewalIsTriedAgainWhileVaultIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		store.Open()
		time.Sleep(30 * time.Minute)
		vault.set(func() {
			vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/v1/auth/") {
					refuse(w, 503, "Vault is sealed")
					return true
				}
				return false
			}
		})
		time.Sleep(20 * time.Minute)
		mustGet(t, store) // the token is good for ten minutes more
		vault.set(func() { vault.fault = nil })
		waitUntil(t, longestRest, func() bool { vault.mu.Lock(); defer vault.mu.Unlock(); return vault.renewals == 1 })
		if n := vault.count("PUT "); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

func TestEndedTokenIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		mustGet(t, store)
		vault.set(func() {
			vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
				refuse(w, 503, "Vault is sealed")
				return true
			}
		})
		time.Sleep(time.Hour + time.Minute)
		before := vault.count("GET secret/")
		if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		if vault.count("GET secret/") != before {
			t.Error("a request was made with a token that has ended")
		}
	})
}

// countLog counts records and keeps the last of them.
type countLog struct {
	mu    sync.Mutex
	lines []string
}

func (c *countLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, string(p))
	return len(p), nil
}

func (c *countLog) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines
}

func TestFailingLoginRestsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		log := &countLog{}
		store.SetLogger(slog.New(slog.NewTextHandler(log, nil)))
		refusal := func(w http.ResponseWriter, r *http.Request) bool {
			refuse(w, 400, "invalid role or secret ID "+secretID)
			return true
		}
		vault.fault = refusal

		start := time.Now()
		_, err := store.Get(t.Context(), secretKey)
		if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "invalid role or secret ID") {
			t.Fatalf("error %v", err)
		}
		checkNoSecret(t, err.Error())
		for time.Since(start) < 10*time.Minute {
			before := time.Now()
			if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			if waited := time.Since(before); waited > 0 {
				t.Fatalf("a request waited %v while the login rests", waited)
			}
			time.Sleep(50 * time.Millisecond)
		}
		// A jittered rest of 7.5 to 15 s.
		if n := vault.count("PUT "); n < 40 || n > 85 {
			t.Errorf("%d logins in 10 minutes", n)
		}
		if lines := log.all(); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN") {
			t.Errorf("one failure logged as %q", lines)
		}
		checkNoSecret(t, strings.Join(log.all(), ""))

		vault.set(func() { vault.fault = nil })
		waitUntil(t, longestRest, func() bool { _, err := store.Get(t.Context(), secretKey); return err == nil })
		if lines := log.all(); len(lines) != 2 || !strings.Contains(lines[1], "again") {
			t.Errorf("a recovery logged as %q", lines)
		}
	})
}

func TestFailedLoginLeavesTheTokenToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		other := credential.Key{Provider: "billing", Tenant: "forbidden"}
		mustGet(t, store)
		time.Sleep(2 * minLoginInterval)
		vault.set(func() {
			vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/login") || strings.HasSuffix(r.URL.Path, "/forbidden") {
					refuse(w, 403, "permission denied")
					return true
				}
				return false
			}
		})
		for range 5 {
			if _, err := store.Get(t.Context(), other); !errors.Is(err, credential.ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			mustGet(t, store)
		}
	})
}

// A refusal that is reported while the login that it would cause is failing
// already does not cause another one at once.
func TestFailedLoginRestsWhateverIsReportedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &script{t: t, lease: 3600}
		var logins atomic.Int32
		store := newOnHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/login") && logins.Add(1) > 1 {
				time.Sleep(time.Second)
			}
			vault.ServeHTTP(w, r)
		}), nil)
		mustGet(t, store)
		time.Sleep(2 * minLoginInterval)
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			refuse(w, 403, "permission denied")
			return true
		}
		var group sync.WaitGroup
		for n := range 10 {
			group.Go(func() {
				time.Sleep(time.Duration(n) * 100 * time.Millisecond)
				if _, err := store.Get(t.Context(), secretKey); !errors.Is(err, credential.ErrUnavailable) {
					t.Errorf("error %v, want ErrUnavailable", err)
				}
			})
		}
		group.Wait()
		time.Sleep(firstRest / 4)
		if n := logins.Load(); n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
	})
}

func TestRequestWaitsForTheLoginUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &script{t: t, lease: 3600}
		store := newOnHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/login") {
				time.Sleep(1500 * time.Millisecond)
			}
			vault.ServeHTTP(w, r)
		}), nil)
		store.Open()
		mustGet(t, store)

		early, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		second := newOnHandler(t, hanging(t, "/v1/auth/"), nil)
		if _, err := second.Get(early, secretKey); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
	})
}

func TestCloseEndsALoginUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newOnHandler(t, hanging(t, "/v1/auth/"), func(c *Config) { c.Timeout = time.Hour })
		store.Open()
		failed := make(chan error, 1)
		go func() { _, err := store.Get(t.Context(), secretKey); failed <- err }()
		synctest.Wait()
		start := time.Now()
		store.Close()
		if err := <-failed; !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		if time.Since(start) > 0 {
			t.Errorf("closing took %v", time.Since(start))
		}
	})
}
