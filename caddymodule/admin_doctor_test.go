package caddymodule

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// diagnose asks the doctor.
func (s *sidecar) diagnose(t *testing.T) report {
	t.Helper()
	res, body := s.ask(t, "GET", "doctor", "", nil)
	var d report
	if err := json.Unmarshal([]byte(body), &d); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %s, %v: %s", res.Status, err, body)
	}
	return d
}

// wrong returns the checks that found something wrong, with what they found.
func (d report) wrong() map[string]string {
	found := make(map[string]string)
	for _, f := range d.Findings {
		if !f.OK {
			found[f.Check] = f.Detail + " → " + f.Remedy
		}
	}
	return found
}

func TestDoctorOfAHealthySetup(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, nil)
	if err := os.WriteFile(s.path("secret"), []byte("canary-client-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, strings.Replace(auth.provider("billing", "client_secret_file "+s.path("secret")), "client_auth none\n", "", 1)+`
	provider app {
		header X-Api-Key {credential.api_key}
		fetch_credentials `+auth.URL+`/tenants/{tenant}
	}`, "upstream_auth billing 127.0.0.1:1")
	d := s.diagnose(t)
	if !d.Healthy || len(d.wrong()) > 0 {
		t.Errorf("got %+v", d)
	}
	checks := make(map[string]bool)
	for _, f := range d.Findings {
		checks[f.Check] = true
	}
	for _, check := range []string{"database", "key_file", "file", "token_endpoint", "application"} {
		if !checks[check] {
			t.Errorf("nothing is said of %s: %+v", check, d.Findings)
		}
	}
	if n := auth.refreshes.Load(); n > 0 {
		t.Errorf("the token endpoint was asked %d times", n)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	t.Cleanup(untrusted.Close)
	s := administered(t, nil)
	if err := os.WriteFile(s.path("secret"), []byte("canary-client-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, `provider billing {
		oauth2 {
			token_url http://`+freeAddress(t)+`/token
			client_id app
			client_secret_file `+s.path("secret")+`
		}
	}
	provider app {
		header X-Api-Key {credential.api_key}
		fetch_credentials `+untrusted.URL+`/tenants/{tenant}
	}`, "upstream_auth billing 127.0.0.1:1")
	if err := os.Remove(s.path("secret")); err != nil {
		t.Fatal(err)
	}
	d := s.diagnose(t)
	wrong := d.wrong()
	for check, want := range map[string]string{
		"token_endpoint": "connection refused → Check that the address is right",
		"application":    "its certificate is not trusted",
		"file":           "no such file or directory → Have " + s.path("secret"),
	} {
		if !strings.Contains(wrong[check], want) {
			t.Errorf("%s: got %q, want %q", check, wrong[check], want)
		}
	}
	if d.Healthy || len(wrong) != 3 {
		t.Errorf("got %+v", d)
	}
}

// What hangs does not keep the rest from being told.
func TestDoctorDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		found := makeChecks(t.Context(), []check{
			{"hanging", func(context.Context) []credential.Finding { <-end; return nil }},
			{"interrupted", func(ctx context.Context) []credential.Finding {
				<-ctx.Done()
				return []credential.Finding{{Check: "interrupted", Detail: "no answer"}}
			}},
			{"quick", func(context.Context) []credential.Finding { return []credential.Finding{{Check: "quick", OK: true}} }},
		})
		close(end)
		var got []string
		for _, f := range found {
			got = append(got, f.Check+": "+f.Detail)
		}
		if want := "hanging: there was no answer within 10s; interrupted: no answer; quick: "; strings.Join(got, "; ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestExaminedJournal(t *testing.T) {
	dir := t.TempDir()
	if f := examineJournal(dir); !f.OK {
		t.Errorf("got %+v", f)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := examineJournal(dir + "/file/journal"); f.OK || !strings.Contains(f.Remedy, "journal") {
		t.Errorf("below a file: got %+v", f)
	}
}

func TestReachedThroughAProxy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	// The proxies that the environment names are read once in a process, so this one
	// is not the environment's.
	through, err := reach(t.Context(), "https://as.example/token", nil, func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: listener.Addr().String()}, nil
	})
	if err != nil || through != " (as far as the proxy "+listener.Addr().String()+")" {
		t.Errorf("got %q, %v", through, err)
	}
}
