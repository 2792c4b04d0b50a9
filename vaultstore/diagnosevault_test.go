package vaultstore

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// What a diagnosis says of a real Vault.

func testDiagnosis(t *testing.T, v *realVault) {
	wantFindings(t, diagnose(t, newStore(t, v.byToken("upstream-auth")), "crm"),
		"vault ok: answers at "+v.Address,
		"login ok: left and can be renewed; its policies are: default, upstream-auth",
		"mount ok: ",
		`policy ok: DELETE by the credentials API will not work without path "secret/data/upstream-auth/*" { capabilities = ["delete"] }; `+
			`lists of tenants will not work without path "secret/metadata/upstream-auth/*" { capabilities = ["list"] }`,
		"policy ok: journal", "clock ok: ")
	for _, f := range diagnose(t, newStore(t, v.byAppRole("diagnosed", map[string]any{"token_ttl": "1h"})), "crm") {
		if !f.OK || strings.Contains(f.Detail, "without") {
			t.Errorf("with both policies of the README: %+v", f)
		}
	}
	wantFindings(t, diagnose(t, newStore(t, v.byToken("root")), "crm")[1:2], "login wrong: its policies are: root")

	wantFindings(t, newStore(t, v.byToken("upstream-auth")).DiagnoseLinks(t.Context(), []string{"crm"}), "policy ok: links to connect")
	v.write("sys/policies/acl/reads-links", map[string]any{"policy": leastPrivilege + `path "secret/data/upstream-auth/_links/*" { capabilities = ["read"] }`})
	wantFindings(t, newStore(t, v.byToken("reads-links")).DiagnoseLinks(t.Context(), []string{"crm"}),
		`policy wrong: the token may not create, update at secret/data/upstream-auth/_links*`)
}

func testDiagnosedLogins(t *testing.T, v *realVault) {
	change := func(change func(*AuthConfig)) Config {
		cfg := v.byAppRole("changed", map[string]any{"token_ttl": "1h"})
		change(&cfg.Auth)
		return cfg
	}
	noDefault, err := v.root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"upstream-auth"}, NoDefaultPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	gone := t.TempDir() + "/gone"
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"secret id":     {change(func(a *AuthConfig) { a.SecretIDFile = writeFile(t, secretID) }), "login wrong: vault write -f -field=secret_id auth/approle/role/ROLE/secret-id > /"},
		"role id":       {change(func(a *AuthConfig) { a.RoleID, a.RoleIDFile = secretRoleID, "" }), "login wrong: vault read -field=role_id auth/approle/role/ROLE/role-id"},
		"no such login": {change(func(a *AuthConfig) { a.Mount = "elsewhere" }), "login wrong: vault auth enable -path=elsewhere approle"},
		"no file":       {change(func(a *AuthConfig) { a.SecretIDFile = gone }), "login wrong: Have " + gone + " exist"},
		"empty file":    {change(func(a *AuthConfig) { a.SecretIDFile = writeFile(t, "") }), "login wrong: is empty"},
		"no jwt login":  {change(func(a *AuthConfig) { *a = AuthConfig{Method: MethodJWT, Role: "r", JWTFile: writeFile(t, "a.b.c")} }), "login wrong: vault read auth/jwt/role/r"},
		"no token file": {change(func(a *AuthConfig) { *a = AuthConfig{Method: MethodTokenFile, TokenFile: gone} }), "login wrong: Have " + gone + " exist"},
		"unknown token": {change(func(a *AuthConfig) { *a = AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(t, secretToken)} }), "login wrong: Vault says that it is invalid"},
		"no default rule": {change(func(a *AuthConfig) {
			*a = AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(t, noDefault.Auth.ClientToken)}
		}), "login ok: does not let the token look at itself"},
	} {
		t.Run(name, func(t *testing.T) {
			findings := diagnose(t, newStore(t, c.cfg), "crm")
			if strings.HasPrefix(c.want, "login wrong") {
				wantFindings(t, findings, "vault ok: ", c.want, "clock ok: ")
			} else {
				wantFindings(t, findings, "vault ok: ", c.want, "mount ok: ", `policy wrong: path "sys/capabilities-self"`, "clock ok: ")
			}
		})
	}
}

func testDiagnosedMounts(t *testing.T, v *realVault) {
	v.write("sys/mounts/diagnosed1", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	for _, c := range []struct {
		mount   string
		version int
		want    string
	}{
		{"diagnosed1", 1, `mount ok: mount "diagnosed1" is a KV secrets engine of version 1`},
		{"diagnosed1", 2, "mount wrong: vault kv enable-versioning diagnosed1/"},
		{"secret", 1, "mount wrong: Set kv_version to 2."},
		{"secret/team/a", 2, `mount wrong: Set mount to "secret", and have path begin with "team/a/".`},
		{"cubbyhole", 2, "mount wrong: vault secrets enable -path=PATH -version=2 kv"},
		{"nowhere", 2, "mount wrong: vault secrets enable -path=nowhere -version=2 kv"},
		{"nowhere", 1, "mount wrong: vault secrets enable -path=nowhere -version=1 kv"},
	} {
		cfg := v.byToken("root")
		cfg.Mount, cfg.KVVersion = c.mount, c.version
		wantFindings(t, diagnose(t, newStore(t, cfg))[2:3], c.want)
	}
}

// Whoever does what a diagnosis says about the policy, and no more, gets a store
// that can do everything.
func testRemediesOfThePolicy(t *testing.T, v *realVault) {
	rule := regexp.MustCompile(`path "[^"]+" \{ capabilities = \[[^]]+\] \}`)
	for _, version := range []int{1, 2} {
		for n, template := range fuzzTemplates {
			mount, policy := fmt.Sprintf("remedied%d-%d", version, n), fmt.Sprintf("remedied%d-%d", version, n)
			v.write("sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": fmt.Sprint(version)}})
			// Something has to be allowed there, or Vault does not say what it is.
			rules := []string{fmt.Sprintf(`path "%s/data/else/where/than/there" { capabilities = ["read"] }`, mount)}
			write := func() {
				v.write("sys/policies/acl/"+policy, map[string]any{"policy": strings.Join(rules, "\n")})
			}
			write()
			cfg := v.byToken(policy)
			cfg.Mount, cfg.KVVersion, cfg.PathTemplate = mount, version, template
			store := newStore(t, cfg)

			faults := 0
			for round := 0; ; round++ {
				var missing []string
				findings := store.Diagnose(t.Context(), []string{"crm", "billing"})
				if version == 2 {
					findings = append(findings, store.DiagnoseLinks(t.Context(), []string{"crm", "billing"})...)
				}
				for _, f := range findings {
					if !f.OK {
						faults++
					}
					if !f.OK && f.Check != checkPolicy {
						t.Fatalf("%s: %+v", template, f)
					}
					missing = append(missing, rule.FindAllString(f.Detail+f.Remedy, -1)...)
				}
				if len(missing) == 0 {
					break
				}
				if round == 3 {
					t.Fatalf("%s, version %d: %q does not suffice, still missing are %q", template, version, rules, missing)
				}
				rules = append(rules, missing...)
				write()
			}
			if want := map[int]int{1: 2, 2: 4}[version]; faults != want {
				t.Errorf("%s, version %d: %d faults at first, want %d", template, version, faults, want)
			}
			slices.Sort(rules)
			t.Logf("%s, version %d: %s", template, version, strings.Join(slices.Compact(rules), " "))

			for _, provider := range []string{"crm", "billing"} {
				key := credential.Key{Provider: provider, Tenant: "acme"}
				if version == 1 {
					path, err := store.cfg.secretPath(key)
					if err != nil {
						t.Fatal(err)
					}
					v.write(path, map[string]any{"n": "1"})
				} else {
					put(t, store, key)
					put(t, store, key.Links())
				}
				if _, err := store.Get(t.Context(), key); err != nil {
					t.Errorf("%s, version %d: Get: %v", template, version, err)
				}
				if tenants, err := store.List(t.Context(), provider, "", 9); err != nil || len(tenants) != 1 {
					t.Errorf("%s, version %d: List: %q, %v", template, version, tenants, err)
				}
				if err := store.Delete(t.Context(), key); err != nil && version == 2 {
					t.Errorf("%s: Delete: %v", template, err)
				}
			}
			if version == 2 {
				put(t, store, credential.LinksKey())
				put(t, store, credential.JournalKey())
				if _, err := store.Get(t.Context(), credential.JournalKey()); err != nil {
					t.Errorf("%s: Get of the journals' key: %v", template, err)
				}
			}
		}
	}
}

// put writes a first and, unless it is the journals' key, a second version.
func put(t *testing.T, store *Store, key credential.Key) {
	t.Helper()
	eventually(t, 10*time.Second, func() error { // a new mount is upgraded first
		_, err := store.Put(t.Context(), key, []byte(`{"n":"1"}`), 0)
		return err
	})
	if key == credential.JournalKey() {
		return
	}
	if _, err := store.Put(t.Context(), key, []byte(`{"n":"2"}`), 1); err != nil {
		t.Fatal(err)
	}
}

func TestDiagnosisOfOutages(t *testing.T) {
	v := startVault(t)
	store := newStore(t, v.byAppRole("diagnosed", map[string]any{"token_ttl": "1h"}))
	well := []string{"vault ok: ", "login ok: ", "mount ok: ", "policy ok: crm", "policy ok: journal", "clock ok: "}
	wantFindings(t, diagnose(t, store, "crm"), well...)
	v.Seal()
	wantFindings(t, diagnose(t, store, "crm"), "vault wrong: vault operator unseal", "clock ok: ")
	v.Unseal()
	eventually(t, longestRest+5*time.Second, func() error {
		for _, f := range store.Diagnose(t.Context(), []string{"crm"}) {
			if !f.OK {
				return fmt.Errorf("after the unsealing: %+v", f)
			}
		}
		return nil
	})
	v.Kill()
	wantFindings(t, diagnose(t, store, "crm"), "vault wrong: connection refused")
	if os.Getenv("VAULT_BIN") != "" {
		return // which forgets everything
	}
	v.Restart()
	if err := v.root.Auth().Token().RevokeTree(currentToken(store).token); err != nil {
		t.Fatal(err)
	}
	age(store)
	wantFindings(t, diagnose(t, store, "crm"), well...) // by a new login
}
