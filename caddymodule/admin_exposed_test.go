package caddymodule_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

// startLogged is start with a log, which it returns as it is once Caddy runs.
func (s *sidecar) startLogged(t *testing.T, providers, site string) string {
	t.Helper()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	text := strings.Replace(s.caddyfile(providers, site), "level ERROR", "level WARN\noutput file "+s.path("log"), 1)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(conf, true); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(s.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

func TestDoctorAndLogTellWhatIsOpenToOthers(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{key("acme"): tokens})
	for name, content := range map[string]string{"secret": "canary-client-secret", "app-token": "canary-app-token", "workspace": "k"} {
		if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"secret", "app-token", "workspace", "key", "credentials.db"} {
		if err := os.Chmod(s.path(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log := s.startLogged(t, strings.Replace(auth.provider("billing", "client_secret_file "+s.path("secret")), "client_auth none\n", "", 1)+`
	provider app {
		header X-Api-Key {credential.api_key}
		fetch_credentials `+auth.URL+`/tenants/{tenant} {
			header Authorization "Bearer {file.`+s.path("app-token")+`}"
		}
	}`, `upstream_auth_api billing {
		token hs256 {
			secret_file `+s.path("workspace")+`
		}
		issuer workspace
	}
	upstream_auth billing 127.0.0.1:1`)
	d := s.diagnose(t)
	var wrong []string
	for _, f := range d.Findings {
		if !f.OK {
			wrong = append(wrong, f.Check+": "+f.Detail)
		}
		if f.OK != (f.Remedy == "") {
			t.Errorf("got %+v", f)
		}
	}
	want := []string{
		"file: client_secret_file of provider billing is open to others: " + s.path("secret") + " has mode 0644",
		"file: what provider app reads as {file.…} is open to others: " + s.path("app-token") + " has mode 0644",
		"file: key_file of the store is open to others: " + s.path("key") + " has mode 0644",
		"file: path of the store is open to others: " + s.path("credentials.db") + " has mode 0644",
		"file: secret_file of the credentials API of provider billing is open to others: " + s.path("workspace") + " has mode 0644",
		"tokens: the credentials API of provider billing refuses all tokens: " + s.path("workspace") + ": secret is shorter than the hash",
	}
	for _, text := range want {
		if !strings.Contains(strings.Join(wrong, "\n"), text) {
			t.Errorf("the doctor does not say %q", text)
		}
		_, detail, _ := strings.Cut(text, ": ")
		if n := strings.Count(log, `"msg":"`+detail); n != 1 {
			t.Errorf("the log says %d times %q", n, detail)
		}
	}
	if len(wrong) != len(want) || d.Healthy {
		t.Errorf("got %q", wrong)
	}
	if strings.Contains(log, "canary") {
		t.Error("the log has a secret in it")
	}
}

func TestWhoReachesTheAdministrationEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		listen  string // DIR is the sidecar's directory
		healthy bool
		detail  string
		logged  bool
	}{
		"a Unix socket":               {"unix/DIR/a", true, "listens at unix/", false},
		"a Unix socket of the group":  {"unix/DIR/a|0660", true, "listens at unix/", false},
		"a Unix socket for everybody": {"unix/DIR/a|0666", false, "it has mode 0666", true},
		"loopback":                    {"", true, "every user and process of this machine", true},
		"all interfaces":              {":", false, "whoever reaches that address", true},
		"all interfaces of IPv4":      {"0.0.0.0:", false, "whoever reaches that address", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := administered(t, nil)
			_, port, _ := strings.Cut(s.admin, ":")
			if strings.HasSuffix(c.listen, ":") {
				s.admin = c.listen + port
			} else if c.listen != "" {
				// The name of a socket is short, and those of tests' directories are not.
				dir, err := os.MkdirTemp("", "")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				s.admin = strings.Replace(c.listen, "DIR", dir, 1)
			}
			log := s.startLogged(t, apiKey, "upstream_auth billing 127.0.0.1:1")
			result := s.command(t, "", "doctor", "--json")
			var d explain.Report
			if err := json.Unmarshal([]byte(result.out), &d); err != nil {
				t.Fatal(errors.Join(err, result.failed))
			}
			var detail string
			for _, f := range d.Findings {
				if f.Check == "admin" {
					detail += f.Detail
				}
			}
			if !strings.Contains(detail, c.detail) || d.Healthy != c.healthy || (result.failed == nil) != c.healthy {
				t.Errorf("got %q, healthy %v, %v", detail, d.Healthy, result.failed)
			}
			if logged := strings.Contains(log, `"check":"admin"`); logged != c.logged {
				t.Errorf("told at start: %v", logged)
			}
		})
	}
}
