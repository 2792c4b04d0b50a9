package vaultstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// diagnose makes a diagnosis, and fails the test if it is not well formed or holds
// a secret.
func diagnose(t *testing.T, store *Store, providers ...string) []credential.Finding {
	t.Helper()
	findings := store.Diagnose(t.Context(), providers)
	for _, f := range findings {
		if f.Detail == "" || f.OK != (f.Remedy == "") {
			t.Errorf("finding %+v", f)
		}
		checkNoSecret(t, f.Detail+f.Remedy)
		t.Logf("%+v", f)
	}
	return findings
}

// wantFindings fails the test unless the findings are these: each the name of a
// check, then "ok" or "wrong", then what the detail or the remedy must contain.
func wantFindings(t *testing.T, findings []credential.Finding, want ...string) {
	t.Helper()
	if len(findings) != len(want) {
		t.Errorf("%d findings, want %d", len(findings), len(want))
	}
	for i := range min(len(findings), len(want)) {
		f, state := findings[i], "wrong"
		if f.OK {
			state = "ok"
		}
		check, text, _ := strings.Cut(want[i], ": ")
		if check != f.Check+" "+state || !strings.Contains(f.Detail+" "+f.Remedy, text) {
			t.Errorf("finding %d is %+v, want %q", i, f, want[i])
		}
	}
}

func TestDiagnosisOfWhatIsWell(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) { c.Namespace = "team-a" })
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if health := r.URL.Path == "/v1/sys/health"; health == (r.Header.Get("X-Vault-Namespace") != "") {
			t.Errorf("%s with namespace %q", r.URL.Path, r.Header.Get("X-Vault-Namespace"))
		}
		return false
	}
	wantFindings(t, diagnose(t, store, "crm", "billing"),
		"vault ok: Vault 1.21.0 answers at https://vault.example:8200 and is unsealed",
		"login ok: logged in by approle; the token has 1h0m0s left and can be renewed; its policies are: default, upstream-auth",
		`mount ok: mount "secret" is a KV secrets engine of version 2`,
		"policy ok: provider crm: the token may create, read, update credentials",
		"policy ok: provider billing: the token may create, read, update credentials",
		"policy ok: journal: the token may create, read its key",
		"clock ok: ",
	)
	for _, request := range vault.requests {
		if strings.Contains(request, " secret/") {
			t.Errorf("request %q", request)
		}
	}
}

func TestDiagnosisOfVaultsState(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		stops  bool
	}{
		"standby":         {429, `{"initialized":true,"sealed":false,"standby":true,"version":"2.4.0"}`, "vault ok: Vault 2.4.0 answers at https://vault.example:8200 and is unsealed; this node is a standby", false},
		"no version":      {200, `{"initialized":true}`, "vault ok: Vault of an unknown version", false},
		"sealed":          {503, `{"initialized":true,"sealed":true}`, "vault wrong: vault operator unseal", true},
		"not initialized": {501, `{"initialized":false,"sealed":true}`, "vault wrong: vault operator init", true},
		"secondary":       {472, `{"initialized":true,"sealed":false}`, "vault wrong: Set address to the primary cluster", true},
		"a proxy":         {404, `<html>` + secretDocument, "vault wrong: answers, with status 404, but not as Vault does", false},
		"something else":  {200, `{"status":"` + secretDocument + `"}`, "vault wrong: Set address to Vault's own", false},
	} {
		t.Run(name, func(t *testing.T) {
			store, vault := newScripted(t, nil)
			vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v1/sys/health" {
					return false
				}
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
				return true
			}
			findings := diagnose(t, store)
			if c.stops {
				wantFindings(t, findings, c.want, "clock ok: ")
			} else {
				wantFindings(t, findings, c.want, "login ok: ", "mount ok: ", "policy ok: journal", "clock ok: ")
			}
		})
	}
}

func TestDiagnosisOfClocks(t *testing.T) {
	for _, c := range []struct {
		ahead, took time.Duration
		want        string
	}{
		{0, 0, "clock ok: agree to within seconds"},
		{4 * time.Second, 0, "clock ok: "},
		{-4 * time.Second, 0, "clock ok: "},
		{7 * time.Second, 0, "clock wrong: Vault's clock is about 7s ahead of this machine's"},
		{-7 * time.Second, 0, "clock wrong: Vault's clock is about 6s behind this machine's"},
		{time.Hour, time.Second, "clock wrong: timedatectl"},
		{-100 * 365 * 24 * time.Hour, 0, "clock wrong: behind"},
		{6 * time.Second, 4 * time.Second, "clock ok: "}, // when it was written is not known to 4 s
	} {
		synctest.Test(t, func(t *testing.T) {
			vault := &script{t: t, lease: 3600}
			store := newOnHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/sys/health" {
					time.Sleep(c.took / 2)
					w.Header().Set("Date", time.Now().Add(c.ahead).UTC().Format(http.TimeFormat))
					time.Sleep(c.took / 2)
				}
				vault.ServeHTTP(w, r)
			}), func(c *Config) { c.Timeout = time.Minute })
			findings := diagnose(t, store)
			wantFindings(t, findings[len(findings)-1:], c.want)
		})
	}
}

// What is said of the clock does not depend on a login that the clock may spoil.
func TestDiagnosisOfALoginThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, vault := newScripted(t, nil)
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
			if strings.HasSuffix(r.URL.Path, "/login") {
				refuse(w, 400, "invalid role or secret ID "+secretID)
				return true
			}
			return false
		}
		wantFindings(t, diagnose(t, store, "crm"), "vault ok: ", "login wrong: invalid role or secret ID [redacted]", "clock wrong: about 59s behind")
	})
}

func TestDiagnosisOfATokenThatSomebodyElseKeeps(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"root":                     {`"ttl":0,"policies":["root"]`, "login wrong: it may do everything in Vault Have the sidecar's token allow what it needs and no more"},
		"root that expires":        {`"ttl":3600,"creation_ttl":3600,"renewable":true,"policies":["root"]`, "login wrong: it may do everything"},
		"near its end":             {`"ttl":599,"creation_ttl":3600,"policies":["upstream-auth"]`, "login wrong: the token has 9m59s left and cannot be renewed; its policies are: upstream-auth Put a new token into"},
		"a long life near its end": {`"ttl":80000,"creation_ttl":2764800,"policies":["upstream-auth"]`, "login wrong: before this one ends"},
		"renewable near its end":   {`"ttl":60,"creation_ttl":3600,"renewable":true,"policies":["upstream-auth"]`, "login ok: can be renewed"},
		"an hour that began":       {`"ttl":3500,"creation_ttl":3600,"policies":["upstream-auth"]`, "login ok: cannot be renewed"},
		"for ever":                 {`"ttl":0,"policies":["upstream-auth"]`, "login ok: does not expire"},
	} {
		t.Run(name, func(t *testing.T) {
			store, vault := newScripted(t, func(c *Config) { c.Auth = AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(t, secretToken)} })
			vault.token = secretToken
			vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
				looked := strings.HasSuffix(r.URL.Path, "/lookup-self")
				if looked {
					fmt.Fprintf(w, `{"data":{%s}}`, c.said)
				}
				return looked
			}
			wantFindings(t, diagnose(t, store), "vault ok: ", c.want, "mount ok: ", "policy ok: journal", "clock ok: ")
		})
	}
}

func TestRootTokenIsToldAtStart(t *testing.T) {
	for policy, want := range map[string]bool{"root": true, "upstream-auth": false} {
		store, vault := newScripted(t, func(c *Config) { c.Auth = AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(t, secretToken)} })
		vault.token = secretToken
		vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
			looked := strings.HasSuffix(r.URL.Path, "/lookup-self")
			if looked {
				fmt.Fprintf(w, `{"data":{"policies":["default",%q]}}`, policy)
			}
			return looked
		}
		var text bytes.Buffer
		store.SetLogger(slog.New(slog.NewTextHandler(&text, nil)))
		store.Open()
		eventually(t, 5*time.Second, func() error {
			if vault.count("GET auth/token/lookup-self") == 0 {
				return errors.New("the token was not looked up")
			}
			return nil
		})
		if err := store.Close(); err != nil { // after which nothing writes to the log
			t.Fatal(err)
		}
		if got := strings.Contains(text.String(), "root token"); got != want {
			t.Errorf("%s: the log is %q", policy, &text)
		}
		checkNoSecret(t, text.String())
	}
}

func TestDiagnosisOfATokenThatMayAskNothing(t *testing.T) {
	store, vault := newScripted(t, nil)
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		forbidden := strings.HasSuffix(r.URL.Path, "-self") || strings.HasPrefix(r.URL.Path, "/v1/sys/internal/")
		if forbidden {
			refuse(w, 403, "1 error occurred:\n\t* permission denied at "+secretDocument)
		}
		return forbidden
	}
	wantFindings(t, diagnose(t, store, "crm"), "vault ok: ", "login ok: does not let the token look at itself",
		`mount wrong: Vault does not say what is at the mount "secret"`,
		`policy wrong: path "sys/capabilities-self" { capabilities = ["update"] }`, "clock ok: ")
	if findings := store.DiagnoseLinks(t.Context(), []string{"crm"}); findings != nil {
		t.Errorf("of links it says what is said already: %+v", findings)
	}
}

func TestDiagnosisOfAnswersThatAreNone(t *testing.T) {
	leak := secretDocument + " " + secretTenant
	for name, body := range map[string]string{
		"not JSON": "<html>" + leak, "nothing": ``, "null": `null`, "a list": `["` + leak + `"]`, "other types": `{"data":{"ttl":"` + leak + `","policies":7,"path":7}}`,
		"empty": `{"data":{}}`, "endless": `{"data":{"ttl":9223372036854775807,"policies":["` + strings.Repeat("x", 10_000) + `"]}}`,
	} {
		for _, status := range []int{200, 400, 404, 429, 500, 503} {
			t.Run(fmt.Sprint(name, status), func(t *testing.T) {
				store, vault := newScripted(t, nil)
				vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
					answered := strings.HasSuffix(r.URL.Path, "-self") || strings.HasPrefix(r.URL.Path, "/v1/sys/internal/")
					if answered {
						w.WriteHeader(status)
						io.WriteString(w, body)
					}
					return answered
				}
				findings := diagnose(t, store, "crm")
				if len(findings) != 5 {
					t.Errorf("%d findings", len(findings))
				}
				for _, f := range findings {
					if len(f.Detail) > 1000 {
						t.Errorf("a detail of %d bytes", len(f.Detail))
					}
					if f.OK && (f.Check == checkPolicy || f.Check == checkLogin && status != 200) {
						t.Errorf("finding %+v", f)
					}
				}
			})
		}
	}
}

func TestDiagnosisEndsWithItsContext(t *testing.T) {
	for _, path := range []string{"/v1/sys/health", "/v1/auth/approle/login", "/v1/auth/token/lookup-self", "/v1/sys/internal/", "/v1/sys/capabilities-self"} {
		synctest.Test(t, func(t *testing.T) {
			store := newOnHandler(t, hanging(t, path), func(c *Config) { c.Timeout = time.Hour })
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			start := time.Now()
			findings := store.Diagnose(ctx, []string{"crm"})
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("%s: took %v, want 3s", path, took)
			}
			var wrong bool
			for _, f := range findings {
				wrong = wrong || !f.OK && strings.Contains(f.Detail, "deadline") && strings.Contains(f.Remedy, "curl -i https://vault.example:8200/v1/sys/health")
			}
			if !wrong {
				t.Errorf("%s: %+v", path, findings)
			}
		})
		synctest.Test(t, func(t *testing.T) { // nor does a request last longer than one may
			store := newOnHandler(t, hanging(t, path), nil)
			start := time.Now()
			store.Diagnose(t.Context(), []string{"crm"})
			if took := time.Since(start); took > loginTimeout {
				t.Errorf("%s: took %v", path, took)
			}
		})
	}
}

func TestDiagnosisOfConnections(t *testing.T) {
	ours := newAuthority(t)
	_, _, pair := ours.issue(t, "vault.internal")
	secure := httptest.NewUnstartedServer(&script{t: t, lease: 3600})
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(&script{t: t, lease: 3600})
	t.Cleanup(plain.Close)
	gone := httptest.NewServer(nil)
	gone.Close()

	for name, c := range map[string]struct {
		address string
		tls     Config
		want    string
	}{
		"nobody":         {gone.URL, Config{}, "vault wrong: curl -i " + gone.URL + "/v1/sys/health"},
		"no CA":          {secure.URL, Config{}, "vault wrong: Set tls_ca"},
		"another name":   {secure.URL, Config{Files: tlsfiles.Files{TLSCA: ours.file(t)}}, "vault wrong: tls_server_name"},
		"TLS for none":   {strings.Replace(plain.URL, "http:", "https:", 1), Config{}, "vault wrong: Have address begin with the scheme"},
		"none for TLS":   {strings.Replace(secure.URL, "https:", "http:", 1), Config{}, "vault wrong: answers, with status 400, but not as Vault does"},
		"the right ones": {secure.URL, Config{Files: tlsfiles.Files{TLSCA: ours.file(t)}, TLSServerName: "vault.internal"}, "vault ok: "},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t, Config{Address: c.address, Files: c.tls.Files, TLSServerName: c.tls.TLSServerName, Timeout: 30 * time.Second, Auth: AuthConfig{Method: MethodAppRole, RoleID: "r", SecretIDFile: writeFile(t, "s")}})
			wantFindings(t, diagnose(t, store)[:1], c.want)
		})
	}
}
