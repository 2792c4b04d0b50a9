package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// cli is `caddy upstream-auth` on a world, and what it has said so far.
type cli struct {
	*world.World
	said []byte
}

// newCLI makes a world whose sidecar may do what the command line needs. Before Caddy
// starts, prepare can break something.
func newCLI(t *testing.T, prepare func(*world.World)) *cli {
	t.Helper()
	w := world.New(t)
	w.Check(w.Vault.Allow(w.Ctx, world.Policy, world.PolicyAPI))
	if prepare != nil {
		prepare(w)
	}
	w.Start(world.Configuration{Store: "cache_ttl 1ms", Provider: "expose account"})
	c := &cli{World: w}
	t.Cleanup(func() {
		for _, leak := range w.Secrets.Scan("commands", c.said) {
			t.Errorf("leak: %s: %q", leak, world.Around(c.said, leak.Offset))
		}
	})
	return c
}

// run runs a command with --json and reads its answer. It returns its exit status.
func (c *cli) run(answer any, stdin string, args ...string) int {
	c.Helper()
	out, other, err := c.Caddy.Command(c.Ctx, stdin, append(args, "--json")...)
	c.said = append(append(c.said, out...), other...)
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !failed {
		c.Fatal(err)
	}
	if len(out) == 0 {
		out = other
	}
	if err := json.Unmarshal(out, answer); err != nil {
		c.Fatalf("%v: %v: %s %s", args, err, out, other)
	}
	if failed {
		return exit.ExitCode()
	}
	return 0
}

// words runs a command as a person does.
func (c *cli) words(args ...string) string {
	c.Helper()
	out, other, err := c.Caddy.Command(c.Ctx, "", args...)
	c.said = append(append(c.said, out...), other...)
	c.Check(err)
	return string(out)
}

// of are the arguments that name a tenant.
func of(command, tenant string) []string {
	return []string{command, "--provider", "api", "--tenant", tenant}
}

// told is what commands say of a tenant, or of an error.
type told struct {
	ID          string
	Status      string
	Version     int
	WrittenBy   string `json:"written_by"`
	Disabled    bool
	Credentials map[string]string
	Request     string
	On401       string `json:"on_401"`
	ToDo        string `json:"to_do"`
	Code        string
}

func (c *cli) tenant(command, tenant string) told {
	c.Helper()
	var t told
	if code := c.run(&t, "", of(command, tenant)...); code != 0 {
		c.Fatalf("%s %s: exit status %d, %+v", command, tenant, code, t)
	}
	return t
}

// A tenant's credential comes and goes by the command line.
func TestCommandLine(t *testing.T) {
	c := newCLI(t, nil)
	tokens, err := c.Auth.Seed("acme")
	c.Check(err)
	d, err := json.Marshal(world.DocumentOf("acme", tokens))
	c.Check(err)

	var answer told
	if code := c.run(&answer, string(d), of("put", "acme")...); code != 0 || answer.Status != "ready" || answer.WrittenBy != "admin" {
		t.Errorf("put: exit status %d, %+v", code, answer)
	}
	r := world.Request{Tenant: "acme", ID: "put"}
	c.Check(c.Delivered(r, c.Must(r)))
	if got := c.tenant("get", "acme"); got.Version != 1 || got.Credentials["account"] != "account of acme" || len(got.Credentials) != 1 {
		t.Errorf("get: %+v", got)
	}
	if got := c.tenant("refresh", "acme"); got.Status != "ready" || got.Version < 2 {
		t.Errorf("refresh: %+v", got)
	}
	c.Settled("acme")
	if got := c.tenant("get", "acme"); got.WrittenBy == "admin" {
		t.Errorf("get after the refresh: %+v", got)
	}
	if got := len(c.Auth.Of("acme")); got != 1 {
		t.Errorf("%d token requests", got)
	}
	r = world.Request{Tenant: "acme", ID: "refreshed"}
	c.Check(c.Delivered(r, c.Must(r)))

	if code := c.run(&answer, "", of("get", "nobody")...); code != 1 || answer.Code != "tenant_unknown" {
		t.Errorf("get: exit status %d, %+v", code, answer)
	}
	var deleted struct{ Deleted, Revoked bool }
	if code := c.run(&deleted, "", of("delete", "acme")...); code != 0 || !deleted.Deleted {
		t.Errorf("delete: exit status %d, %+v", code, deleted)
	}
	c.Expect(world.Request{Tenant: "acme", ID: "deleted"}, 403)
	var list struct{ Tenants []told }
	if code := c.run(&list, "", "list", "--provider", "api"); code != 0 || len(list.Tenants) > 0 {
		t.Errorf("list: exit status %d, %+v", code, list)
	}
}

// What is said of a tenant's future is what comes.
func TestExplainedTenants(t *testing.T) {
	c := newCLI(t, nil)
	for _, tenant := range []string{"ready", "expired", "refused", "disabled"} {
		tokens, err := c.Auth.Seed(tenant)
		c.Check(err)
		d := world.DocumentOf(tenant, tokens)
		if tenant != "ready" {
			d.ExpiresAt = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
			c.Check(c.Auth.Expire(tenant))
		}
		c.Store(tenant, d)
	}
	c.Check(c.Auth.Revoke("refused"))
	var answer told
	if code := c.run(&answer, "", of("refresh", "refused")...); code != 1 || answer.Code != "reauthorization_required" {
		t.Errorf("refresh: exit status %d, %+v", code, answer)
	}
	_, err := c.Vault.Root.KVv2("secret").Patch(c.Ctx, "upstream-auth/api/disabled", map[string]any{"_upstream_auth": map[string]any{"disabled": "true"}})
	c.Check(err)

	var list struct{ Tenants []told }
	c.run(&list, "", "list", "--provider", "api")
	var names []string
	for _, tenant := range list.Tenants {
		names = append(names, fmt.Sprint(tenant.ID, " ", tenant.Status, " ", tenant.Disabled))
	}
	if got, want := strings.Join(names, ", "), "disabled ready true, expired ready false, ready ready false, refused reauthorization_required false"; got != want {
		t.Errorf("list: %s, want %s", got, want)
	}
	endpoint := strings.TrimPrefix(c.AuthURL, "http://")
	for tenant, want := range map[string]struct {
		request, on401, toDo string
		status               int // of a request
		code                 string
	}{
		"ready":    {"It is sent at once.", "is refreshed at " + endpoint, "", 200, ""},
		"expired":  {"it is refreshed at " + endpoint + " first", "is refreshed at " + endpoint, "", 200, ""},
		"refused":  {"cannot be refreshed", "reauthorization_required", "authorize anew", 401, "reauthorization_required"},
		"disabled": {"cannot be refreshed", "an operator has disabled it", "set disabled to false", 401, "refresh_failed"},
	} {
		got := c.tenant("explain", tenant)
		if !strings.Contains(got.Request, want.request) || !strings.Contains(got.On401, want.on401) ||
			!strings.Contains(got.ToDo, want.toDo) || (got.ToDo == "") != (want.toDo == "") {
			t.Errorf("%s: %+v", tenant, got)
		}
		res := c.Expect(world.Request{Tenant: tenant, ID: tenant}, want.status)
		if code := res.Header.Get("Upstream-Auth-Error"); code != want.code {
			t.Errorf("%s: a request got code %q, want %q", tenant, code, want.code)
		}
		if text := c.words(of("explain", tenant)...); !strings.Contains(text, "Bearer {credential.access_token}") {
			t.Errorf("%s: %s", tenant, text)
		}
	}
}

// diagnosis is what the doctor says.
type diagnosis struct {
	Healthy  bool
	Findings []struct {
		Check          string
		OK             bool
		Detail, Remedy string
	}
}

func TestDoctor(t *testing.T) {
	for name, test := range map[string]struct {
		before func(*world.World) // Caddy starts
		after  func(*world.World)
		wrong  map[string]string // what the remedy of a check has in it
	}{
		"a healthy setup": {},
		"a policy without update": {
			before: func(w *world.World) {
				w.Check(w.Vault.Root.Sys().PutPolicyWithContext(w.Ctx, world.Policy, `path "secret/data/upstream-auth/*" { capabilities = ["create", "read"] }`))
			},
			wrong: map[string]string{"policy": `path "secret/data/upstream-auth/*"`},
		},
		"a wrong secret id": {
			before: func(w *world.World) { w.File("secret-id", "of-somebody-else") },
			wrong:  map[string]string{"login": "Make a new secret id"},
		},
		"a sealed Vault": {
			after: func(w *world.World) { w.Vault.Seal() },
			wrong: map[string]string{"vault": "vault operator unseal"},
		},
		"no client secret": {
			after: func(w *world.World) { w.File("client-secret", "") },
			wrong: map[string]string{"file": "Write into it"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t, test.before)
			if test.after != nil {
				test.after(c.World)
			}
			var d diagnosis
			if code := c.run(&d, "", "doctor"); (code == 0) != (test.wrong == nil) || d.Healthy != (test.wrong == nil) {
				t.Errorf("exit status %d, %+v", code, d)
			}
			found := make(map[string]bool)
			for _, f := range d.Findings {
				if f.OK {
					continue
				}
				found[f.Check] = true
				if remedy, expected := test.wrong[f.Check]; !expected || !strings.Contains(f.Remedy, remedy) {
					t.Errorf("got %+v, want %q", f, remedy)
				}
			}
			if len(found) != len(test.wrong) || len(d.Findings) == 0 {
				t.Errorf("got %+v, want %v", d, test.wrong)
			}
		})
	}
}

// The doctor has something to say when there is no Caddy to ask.
func TestDoctorWithoutCaddy(t *testing.T) {
	c := newCLI(t, nil)
	c.Caddy.Kill()
	var d diagnosis
	if code := c.run(&d, "", "doctor"); code != 1 || len(d.Findings) != 1 || !strings.Contains(d.Findings[0].Detail, "Caddy does not answer") {
		t.Errorf("exit status %d, %+v", code, d)
	}
}
