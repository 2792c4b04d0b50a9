package vaultstore

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore/vaulttest"
)

// The policies that the README gives to users: the sidecar's, and the one for the
// credentials API besides.
const (
	leastPrivilege = `path "secret/data/upstream-auth/*" { capabilities = ["create", "read", "update"] }`
	apiPrivilege   = `
		path "secret/data/upstream-auth/*" { capabilities = ["delete"] }
		path "secret/metadata/upstream-auth/*" { capabilities = ["list"] }`
)

// realVault is a Vault for one test, with a root client and a policy.
type realVault struct {
	*vaulttest.Server
	t    *testing.T
	root *api.Client
}

func startVault(t *testing.T) *realVault {
	t.Helper()
	server := vaulttest.Start(t, vaulttest.Options{})
	v := &realVault{server, t, server.Client()}
	v.write("sys/policies/acl/upstream-auth", map[string]any{"policy": leastPrivilege})
	v.write("sys/policies/acl/upstream-auth-api", map[string]any{"policy": apiPrivilege})
	v.write("sys/auth/approle", map[string]any{"type": "approle"})
	return v
}

func (v *realVault) write(path string, data map[string]any) map[string]any {
	v.t.Helper()
	secret, err := v.root.Logical().WriteWithContext(v.t.Context(), path, data)
	if err != nil {
		v.t.Fatalf("writing %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

// token makes a token with a policy, or with several after commas.
func (v *realVault) token(policy string) string {
	v.t.Helper()
	secret, err := v.root.Auth().Token().Create(&api.TokenCreateRequest{Policies: strings.Split(policy, ","), TTL: "1h"})
	if err != nil {
		v.t.Fatal(err)
	}
	return secret.Auth.ClientToken
}

// byToken is a configuration that logs in with a token of this policy.
func (v *realVault) byToken(policy string) Config {
	v.t.Helper()
	return Config{Address: v.Address, Timeout: 5 * time.Second, Auth: AuthConfig{Method: MethodTokenFile, TokenFile: writeFile(v.t, v.token(policy))}}
}

// byAppRole is a configuration that logs in as a new role with these settings.
func (v *realVault) byAppRole(name string, settings map[string]any) Config {
	v.t.Helper()
	if settings["token_policies"] == nil {
		settings["token_policies"] = "upstream-auth,upstream-auth-api"
	}
	v.write("auth/approle/role/"+name, settings)
	role, err := v.root.Logical().Read("auth/approle/role/" + name + "/role-id")
	if err != nil {
		v.t.Fatal(err)
	}
	secret := v.write("auth/approle/role/"+name+"/secret-id", nil)
	return Config{Address: v.Address, Timeout: 5 * time.Second, Auth: AuthConfig{
		Method:       MethodAppRole,
		RoleIDFile:   writeFile(v.t, role.Data["role_id"].(string)),
		SecretIDFile: writeFile(v.t, secret["secret_id"].(string)+"\n"),
	}}
}

// currentToken is the token that the store would use now.
func currentToken(store *Store) *vaultToken {
	s := store.session.(*loginSession)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// TestOnVault is what a store does on a real Vault that stays up.
func TestOnVault(t *testing.T) {
	v := startVault(t)
	t.Run("group", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *realVault){
			"conformance": testConformance,
			"AppRole tokens are renewed and replaced": testAppRole,
			"JWT login":                        testJWT,
			"token file":                       testTokenFile,
			"KV version 1":                     testVersion1,
			"lists":                            testLists,
			"conformance elsewhere":            testConformanceElsewhere,
			"diagnosis":                        testDiagnosis,
			"diagnosed logins":                 testDiagnosedLogins,
			"diagnosed mounts":                 testDiagnosedMounts,
			"remedies of the policy":           testRemediesOfThePolicy,
			"mount of the other version":       testOtherVersion,
			"what is forbidden is not unknown": testForbidden,
			"what a policy lacks":              testPermissions,
			"a token that Vault does not know": testUnknownToken,
			"deleted and destroyed":            testDeletions,
			"revoked token":                    testRevokedToken,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server := *v
				server.t = t
				test(t, &server)
			})
		}
	})
}

func testConformance(t *testing.T, v *realVault) {
	store := newStore(t, v.byAppRole("conformance", map[string]any{"token_ttl": "1h"}))
	storetest.TestStore(t, func(*testing.T) credential.Store { return store })
}

// Tokens of 2 seconds that die after 5, and requests all the time.
func testAppRole(t *testing.T, v *realVault) {
	store := newStore(t, v.byAppRole("short", map[string]any{"token_ttl": "2s", "token_max_ttl": "5s"}))
	key := credential.Key{Provider: "approle", Tenant: "acme"}
	if _, err := store.Put(t.Context(), key, []byte(`{"n":1}`), 0); err != nil {
		t.Fatal(err)
	}
	first := currentToken(store)
	var renewed bool
	var replaced int
	for last := first; replaced < 2; {
		if _, err := store.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		now := currentToken(store)
		if now != last {
			replaced++
			last = now
		}
		renewed = renewed || time.Since(now.obtained) > 2500*time.Millisecond
		if time.Since(first.obtained) > 30*time.Second {
			t.Fatalf("%d logins in 30 s", replaced)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !renewed {
		t.Error("no token outlived its first lease")
	}
	if took := time.Since(first.obtained); took < 5*time.Second {
		t.Errorf("two logins within %v: tokens were not renewed", took)
	}
}

func testJWT(t *testing.T, v *realVault) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	v.write("sys/auth/ci", map[string]any{"type": "jwt"})
	v.write("auth/ci/config", map[string]any{
		"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"jwt_supported_algs":     "EdDSA",
	})
	v.write("auth/ci/role/sidecar", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "upstream-auth", "token_ttl": "1h",
	})
	claims := func(audience string) string {
		part := func(value any) string {
			text, _ := json.Marshal(value)
			return base64.RawURLEncoding.EncodeToString(text)
		}
		unsigned := part(map[string]any{"alg": "EdDSA"}) + "." +
			part(map[string]any{"sub": "sidecar", "aud": audience, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()})
		return unsigned + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(unsigned)))
	}
	byJWT := func(jwt string) Config {
		return Config{Address: v.Address, Timeout: 5 * time.Second, Auth: AuthConfig{Method: MethodJWT, Mount: "ci", Role: "sidecar", JWTFile: writeFile(t, jwt)}}
	}

	key := credential.Key{Provider: "jwt", Tenant: "acme"}
	store := newStore(t, byJWT(claims("vault")))
	if _, err := store.Put(t.Context(), key, []byte(`{"n":1}`), 0); err != nil {
		t.Fatal(err)
	}
	jwt := claims("somebody else")
	_, err = newStore(t, byJWT(jwt)).Get(t.Context(), key)
	if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "login to Vault by jwt failed") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), jwt) {
		t.Errorf("%q contains the token", err)
	}
}

func testTokenFile(t *testing.T, v *realVault) {
	cfg := v.byToken("upstream-auth")
	store := newStore(t, cfg)
	key := credential.Key{Provider: "file", Tenant: "acme"}
	if _, err := store.Put(t.Context(), key, []byte(`{"n":1}`), 0); err != nil {
		t.Fatal(err)
	}
	old, err := readSecret(cfg.Auth.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, cfg.Auth.TokenFile, v.token("upstream-auth")+"\n")
	if err := v.root.Auth().Token().RevokeTree(old); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), key, []byte(`{"n":2}`), 1); err != nil {
		t.Fatalf("with a new token in the file: %v", err)
	}
}

func testVersion1(t *testing.T, v *realVault) {
	v.write("sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	v.write("kv1/upstream-auth/p/acme", map[string]any{"api_key": "k", "n": 1})
	cfg := v.byToken("root")
	cfg.Mount, cfg.KVVersion = "kv1", 1
	store := newStore(t, cfg)
	doc, err := store.Get(t.Context(), credential.Key{Provider: "p", Tenant: "acme"})
	if err != nil || doc.Version != 0 {
		t.Fatalf("version %d, error %v", doc.Version, err)
	}
	var content map[string]any
	if json.Unmarshal(doc.Data, &content) != nil || content["api_key"] != "k" || content["n"] != 1.0 {
		t.Errorf("document %s", doc.Data)
	}
	nobody := credential.Key{Provider: "p", Tenant: "nobody"}
	if _, err := store.Get(t.Context(), nobody); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := store.Put(t.Context(), nobody, []byte(`{}`), 0); !errors.Is(err, credential.ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	if err := store.Delete(t.Context(), nobody); !errors.Is(err, credential.ErrReadOnly) {
		t.Errorf("Delete: %v", err)
	}
}

func testOtherVersion(t *testing.T, v *realVault) {
	v.write("sys/mounts/other1", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	v.write("other1/upstream-auth/p/acme", map[string]any{"n": 1})
	for _, c := range []struct {
		mount   string
		version int
		want    string
	}{
		{"other1", 2, `mount "other1" is KV version 1, but kv_version 2 is configured`},
		{"secret", 1, `mount "secret" is KV version 2, but kv_version 1 is configured`},
		{"secret/sub", 2, `there is no mount "secret/sub": that path lies in the mount "secret"`},
		{"cubbyhole", 2, `mount "cubbyhole" is not a KV secrets engine`},
	} {
		cfg := v.byToken("root")
		cfg.Mount, cfg.KVVersion = c.mount, c.version
		store := newStore(t, cfg)
		key := credential.Key{Provider: "p", Tenant: "acme"}
		_, err := store.Get(t.Context(), key)
		if !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Get: error %v, want %q", err, c.want)
		}
		if c.version == 2 {
			_, err := store.Put(t.Context(), key, []byte(`{"n":2}`), 0)
			if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Put: error %v, want %q", err, c.want)
			}
		}
	}
	if secret, err := v.root.Logical().Read("other1/data/upstream-auth/p/acme"); err != nil || secret != nil {
		t.Errorf("a document was written into a mount of version 1: %v, %v", secret, err)
	}
}

func testForbidden(t *testing.T, v *realVault) {
	v.write("sys/policies/acl/elsewhere", map[string]any{"policy": `path "secret/data/elsewhere/*" { capabilities = ["read"] }`})
	key := credential.Key{Provider: "p", Tenant: "tenant-canary"}
	missing := func(c *Config) { c.Mount = "nowhere" }
	missing1 := func(c *Config) { c.Mount, c.KVVersion = "nowhere", 1 }
	for _, c := range []struct {
		name, policy string
		change       func(*Config)
		want         string
	}{
		{"missing mount as root", "root", missing, `mount "nowhere"`},
		{"missing mount of version 1 as root", "root", missing1, `mount "nowhere"`},
		{"missing mount", "upstream-auth", missing, `does not allow read on nowhere/data/upstream-auth/*`},
		{"forbidden path", "elsewhere", nil, `does not allow read on secret/data/upstream-auth/*`},
		{"no policy", "default", nil, `does not allow read on secret/data/upstream-auth/*`},
	} {
		cfg := v.byToken(c.policy)
		if c.change != nil {
			c.change(&cfg)
		}
		_, err := newStore(t, cfg).Get(t.Context(), key)
		if !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		checkNoSecret(t, err.Error())
	}
}

func testDeletions(t *testing.T, v *realVault) {
	store := newStore(t, v.byToken("upstream-auth,upstream-auth-api"))
	key := credential.Key{Provider: "deletions", Tenant: "acme"}
	below := path.Join("upstream-auth", key.Provider, string(key.Tenant))
	for version := range uint64(2) {
		if _, err := store.Put(t.Context(), key, []byte(`{"n":"x"}`), version); err != nil {
			t.Fatal(err)
		}
	}
	find := func(state string, version uint64, want error) {
		t.Helper()
		doc, err := store.Get(t.Context(), key)
		if !errors.Is(err, want) || doc.Version != version {
			t.Errorf("%s: version %d, error %v; want %d, %v", state, doc.Version, err, version, want)
		}
	}
	if err := store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	find("deleted", 2, credential.ErrNotFound)
	v.write("secret/undelete/"+below, map[string]any{"versions": []int{2}})
	find("undeleted", 2, nil)
	v.write("secret/destroy/"+below, map[string]any{"versions": []int{2}})
	find("destroyed", 2, credential.ErrNotFound)
	if _, err := v.root.Logical().Delete("secret/metadata/" + below); err != nil {
		t.Fatal(err)
	}
	find("gone with its metadata", 0, credential.ErrNotFound)
	if version, err := store.Put(t.Context(), key, []byte(`{}`), 0); err != nil || version != 1 {
		t.Errorf("written anew as version %d, error %v", version, err)
	}
}

func testRevokedToken(t *testing.T, v *realVault) {
	store := newStore(t, v.byAppRole("revoked", map[string]any{"token_ttl": "1h"}))
	key := credential.Key{Provider: "revoked", Tenant: "acme"}
	if _, err := store.Put(t.Context(), key, []byte(`{"n":1}`), 0); err != nil {
		t.Fatal(err)
	}
	revoke := func() {
		t.Helper()
		if err := v.root.Auth().Token().RevokeTree(currentToken(store).token); err != nil {
			t.Fatal(err)
		}
		age(store)
	}
	revoke()
	if _, err := store.Get(t.Context(), key); err != nil {
		t.Errorf("Get: %v", err)
	}
	revoke()
	if _, err := store.Put(t.Context(), key, []byte(`{"n":2}`), 1); err != nil {
		t.Errorf("Put: %v", err)
	}
	revoke()
	if err := store.Delete(t.Context(), key); err != nil {
		t.Errorf("Delete: %v", err)
	}
}
