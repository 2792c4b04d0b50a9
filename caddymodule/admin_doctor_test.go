package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

type doctorReport explain.Report

// diagnose asks the doctor.
func (s *sidecar) diagnose(t *testing.T) doctorReport {
	t.Helper()
	res, body := s.ask(t, "GET", "doctor", "", nil)
	var d doctorReport
	if err := json.Unmarshal([]byte(body), &d); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %s, %v: %s", res.Status, err, body)
	}
	return d
}

// wrong returns the checks that found something wrong, with what they found.
func (d doctorReport) wrong() map[string]string {
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
