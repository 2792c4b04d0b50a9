package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestAPI walks through what the tests of upstream_auth ask of a Vault.
func TestAPI(t *testing.T) {
	p := start(t)
	c := p.root(t)
	err := c.Sys().PutPolicy("reader", `path "secret/data/logins/*" { capabilities = ["read"] }`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KVv2("secret").Put(context.Background(), "logins/x", map[string]any{"k": "v"}); err != nil {
		t.Fatal(err)
	}

	t.Run("KV version 2", func(t *testing.T) { testKVv2(t, c) })
	t.Run("KV version 1", func(t *testing.T) { testKVv1(t, c) })
	t.Run("approle", func(t *testing.T) { testAppRole(t, p) })
	t.Run("jwt", func(t *testing.T) { testJWT(t, p) })
	t.Run("kubernetes", func(t *testing.T) { testKubernetes(t, p) })
	t.Run("userpass", func(t *testing.T) { testUserpass(t, p) })
	t.Run("metrics", func(t *testing.T) {
		if _, err := c.Logical().ReadRaw("sys/metrics"); err != nil {
			t.Error(err)
		}
	})
	t.Run("seal", func(t *testing.T) { testSeal(t, p) })
}

// wantStatus checks that err is an answer of Vault with that status and text.
func wantStatus(t *testing.T, err error, status int, text string) {
	t.Helper()
	var respErr *api.ResponseError
	if !errors.As(err, &respErr) || respErr.StatusCode != status || !strings.Contains(err.Error(), text) {
		t.Errorf("err = %v, want status %d with %q", err, status, text)
	}
}

func testKVv2(t *testing.T, c *api.Client) {
	ctx := context.Background()
	kv := c.KVv2("secret")
	if _, err := kv.Put(ctx, "a/b", map[string]any{"n": "1"}, api.WithCheckAndSet(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "a/b", map[string]any{"n": "2"}, api.WithCheckAndSet(1)); err != nil {
		t.Fatal(err)
	}
	_, err := kv.Put(ctx, "a/b", map[string]any{"n": "3"}, api.WithCheckAndSet(1))
	wantStatus(t, err, 400, "check-and-set parameter did not match the current version")

	got, err := kv.Get(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if got.Data["n"] != "2" || got.VersionMetadata.Version != 2 {
		t.Errorf("got %v, version %d", got.Data, got.VersionMetadata.Version)
	}
	if _, err := kv.Get(ctx, "a/c"); !errors.Is(err, api.ErrSecretNotFound) {
		t.Errorf("missing secret: err = %v", err)
	}
}

func testKVv1(t *testing.T, c *api.Client) {
	ctx := context.Background()
	if err := c.Sys().Mount("old", &api.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.KVv1("old").Put(ctx, "a", map[string]any{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.KVv1("old").Get(ctx, "a")
	if err != nil || got.Data["k"] != "v" {
		t.Errorf("got %v, %v", got, err)
	}
	mounts, err := c.Sys().ListMounts()
	if err != nil {
		t.Fatal(err)
	}
	if mounts["old/"].Options["version"] != "1" || mounts["secret/"].Options["version"] != "2" {
		t.Errorf("mounts: %v", mounts)
	}
}

// write and enable are for what must work.
func write(t *testing.T, c *api.Client, path string, data map[string]any) *api.Secret {
	t.Helper()
	s, err := c.Logical().Write(path, data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func enable(t *testing.T, c *api.Client, method string) {
	t.Helper()
	if err := c.Sys().EnableAuthWithOptions(method, &api.EnableAuthOptions{Type: method}); err != nil {
		t.Fatal(err)
	}
}

// login logs in at path and checks that the token may do what the policy
// reader says, and nothing else.
func login(t *testing.T, p *process, path string, data map[string]any) *api.Client {
	t.Helper()
	s := write(t, p.client(t, ""), path, data)
	c := p.client(t, s.Auth.ClientToken)
	if _, err := c.KVv2("secret").Get(context.Background(), "logins/x"); err != nil {
		t.Error(err)
	}
	_, err := c.KVv2("secret").Get(context.Background(), "elsewhere")
	wantStatus(t, err, 403, "permission denied")
	return c
}

func testAppRole(t *testing.T, p *process) {
	c := p.root(t)
	enable(t, c, "approle")
	write(t, c, "auth/approle/role/sidecar", map[string]any{"token_policies": "reader", "token_ttl": "1h"})
	role, err := c.Logical().Read("auth/approle/role/sidecar/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secret := write(t, c, "auth/approle/role/sidecar/secret-id", nil)
	login(t, p, "auth/approle/login", map[string]any{
		"role_id": role.Data["role_id"], "secret_id": secret.Data["secret_id"],
	})
	_, err = p.client(t, "").Logical().Write("auth/approle/login", map[string]any{
		"role_id": role.Data["role_id"], "secret_id": "wrong",
	})
	wantStatus(t, err, 400, "invalid role or secret ID")
}

func testJWT(t *testing.T, p *process) {
	c := p.root(t)
	key := newSigningKey(t)
	enable(t, c, "jwt")
	write(t, c, "auth/jwt/config", map[string]any{"jwt_validation_pubkeys": key.publicPEM(t)})
	write(t, c, "auth/jwt/role/sidecar", map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault", "token_policies": "reader",
	})
	claims := map[string]any{"sub": "sidecar", "aud": "vault", "exp": time.Now().Add(time.Minute).Unix()}
	login(t, p, "auth/jwt/login", map[string]any{"role": "sidecar", "jwt": key.sign(t, claims)})

	_, err := p.client(t, "").Logical().Write("auth/jwt/login", map[string]any{
		"role": "sidecar", "jwt": newSigningKey(t).sign(t, claims),
	})
	wantStatus(t, err, 400, "no known key successfully validated the token signature")
}

// testKubernetes plays the cluster: Vault asks it whose token it was given.
func testKubernetes(t *testing.T, p *process) {
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "authentication.k8s.io/v1",
			"kind":       "TokenReview",
			"status": map[string]any{
				"authenticated": true,
				"user":          map[string]any{"username": "system:serviceaccount:apps:sidecar", "uid": "42"},
			},
		})
	}))
	defer cluster.Close()

	c := p.root(t)
	enable(t, c, "kubernetes")
	write(t, c, "auth/kubernetes/config", map[string]any{"kubernetes_host": cluster.URL, "disable_local_ca_jwt": true})
	write(t, c, "auth/kubernetes/role/sidecar", map[string]any{
		"bound_service_account_names": "sidecar", "bound_service_account_namespaces": "apps", "token_policies": "reader",
		"audience": "",
	})
	jwt := newSigningKey(t).sign(t, map[string]any{
		"sub": "system:serviceaccount:apps:sidecar",
		"exp": time.Now().Add(time.Minute).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      "apps",
			"serviceaccount": map[string]any{"name": "sidecar", "uid": "42"},
		},
	})
	login(t, p, "auth/kubernetes/login", map[string]any{"role": "sidecar", "jwt": jwt})
}

func testUserpass(t *testing.T, p *process) {
	c := p.root(t)
	enable(t, c, "userpass")
	write(t, c, "auth/userpass/users/ann", map[string]any{"password": "pw", "token_policies": "reader"})
	user := login(t, p, "auth/userpass/login/ann", map[string]any{"password": "pw"})
	if err := user.Auth().Token().RevokeSelf(""); err != nil {
		t.Fatal(err)
	}
	_, err := user.KVv2("secret").Get(context.Background(), "logins/x")
	wantStatus(t, err, 403, "permission denied")
}

// testSeal is last: nothing else works meanwhile.
func testSeal(t *testing.T, p *process) {
	c := p.root(t)
	if err := c.Sys().Seal(); err != nil {
		t.Fatal(err)
	}
	_, err := c.KVv2("secret").Get(context.Background(), "logins/x")
	wantStatus(t, err, 503, "Vault is sealed")

	status, err := c.Sys().Unseal(p.unsealKey)
	if err != nil || status.Sealed {
		t.Fatalf("unseal: %+v, %v", status, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, err := c.KVv2("secret").Get(context.Background(), "logins/x")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// signingKey makes JSON Web Tokens as an identity provider would.
type signingKey struct{ *ecdsa.PrivateKey }

func newSigningKey(t *testing.T) signingKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{key}
}

func (k signingKey) publicPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (k signingKey) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.PrivateKey, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + b64(sig)
}
