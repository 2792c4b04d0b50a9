package proxy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// jwtAPI is an API that takes JWTs.
type jwtAPI struct {
	provider string
	scheme   string         // lines of the provider
	document map[string]any // the good credential
	foreign  map[string]any // what is different in one whose key is another's
	prefix   string         // of Authorization
	key      any            // verifies
	options  []jwt.ParserOption
	check    func(*jwt.Token) error // what the API wants besides

	requests atomic.Int64
}

// ServeHTTP answers as the API does, whose library is not ours.
func (a *jwtAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	text, found := strings.CutPrefix(r.Header.Get("Authorization"), a.prefix)
	options := append([]jwt.ParserOption{jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding()}, a.options...)
	token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return a.key, nil }, options...)
	if err == nil && a.check != nil {
		err = a.check(token)
	}
	if err == nil && !found {
		err = fmt.Errorf("it is not behind %q", a.prefix)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
	}
}

func asPEM(t *testing.T, private crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// newKey makes a key for an algorithm: for a document, and what verifies.
func newKey(t *testing.T, algorithm string) (text string, public any) {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "HS256", "HS384", "HS512":
		text = rand.Text() + rand.Text() + rand.Text()
		return text, []byte(text)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return asPEM(t, private), private.Public()
}

// exampleJWT returns the block jwt of one of the examples.
func exampleJWT(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/apis/" + name + ".Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)\n\t\t\tjwt \{.*?\n\t\t\t\}`).Find(text)
	if block == nil {
		t.Fatalf("%s has no jwt", name)
	}
	return string(block)
}

// ofAlgorithm is an API for an algorithm alone.
func ofAlgorithm(t *testing.T, algorithm string) *jwtAPI {
	t.Helper()
	text, public := newKey(t, algorithm)
	foreign, _ := newKey(t, algorithm)
	return &jwtAPI{
		provider: "jwt_" + strings.ToLower(algorithm), prefix: "Bearer ", key: public,
		scheme:   "jwt {\nalgorithm " + algorithm + "\nkey {credential.key}\nheader kid {credential.kid}\nclaim iss {credential.iss}\nclaim aud one\nclaim aud two\nclaim n {credential.n}\n}",
		document: map[string]any{"key": text, "kid": "k1", "iss": "me", "n": 42},
		foreign:  map[string]any{"key": foreign},
		options:  []jwt.ParserOption{jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer("me"), jwt.WithAllAudiences("one", "two")},
		check: func(token *jwt.Token) error {
			if token.Header["kid"] != "k1" || token.Claims.(jwt.MapClaims)["n"] != 42.0 {
				return fmt.Errorf("got %v", token)
			}
			return nil
		},
	}
}

// lasting checks how long a token is good for.
func lasting(atMost time.Duration, header, claims map[string]any) func(*jwt.Token) error {
	return func(token *jwt.Token) error {
		issued, _ := token.Claims.GetIssuedAt()
		expires, _ := token.Claims.GetExpirationTime()
		if lasts := expires.Sub(issued.Time); lasts > atMost || time.Until(expires.Time) > atMost {
			return fmt.Errorf("it lasts %v", lasts)
		}
		for name, want := range header {
			if token.Header[name] != want {
				return fmt.Errorf("%s is %v", name, token.Header[name])
			}
		}
		for name, want := range claims {
			if got := token.Claims.(jwt.MapClaims)[name]; got != want {
				return fmt.Errorf("%s is %v", name, got)
			}
		}
		return nil
	}
}

// examplesOfAPIs are as their documentation says.
func examplesOfAPIs(t *testing.T) []*jwtAPI {
	t.Helper()
	apple, applePublic := newKey(t, "ES256")
	appleOther, _ := newKey(t, "ES256")
	snowflake, snowflakePublic := newKey(t, "RS256")
	snowflakeOther, _ := newKey(t, "RS256")
	der, err := x509.MarshalPKIXPublicKey(snowflakePublic)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	fingerprint := "SHA256:" + base64.StdEncoding.EncodeToString(sum[:])
	ghost, zoom := make([]byte, 32), rand.Text()
	_, _ = rand.Read(ghost)
	return []*jwtAPI{
		{
			provider: "app-store-connect", prefix: "Bearer ", key: applePublic,
			document: map[string]any{"issuer_id": "57246542-96fe", "key_id": "2X9R4HXF34", "private_key": apple}, foreign: map[string]any{"private_key": appleOther},
			options: []jwt.ParserOption{jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("appstoreconnect-v1"), jwt.WithIssuer("57246542-96fe")},
			check:   lasting(20*time.Minute, map[string]any{"kid": "2X9R4HXF34", "typ": "JWT"}, nil),
		},
		{
			provider: "snowflake-jwt", prefix: "Bearer ", key: snowflakePublic,
			document: map[string]any{"account": "myorg-account", "user": "Robot", "public_key_fp": fingerprint, "private_key": snowflake},
			foreign:  map[string]any{"private_key": snowflakeOther},
			options:  []jwt.ParserOption{jwt.WithValidMethods([]string{"RS256"})},
			check:    lasting(time.Hour, nil, map[string]any{"iss": "MYORG-ACCOUNT.ROBOT." + fingerprint, "sub": "MYORG-ACCOUNT.ROBOT"}),
		},
		{
			provider: "ghost-admin", prefix: "Ghost ", key: ghost,
			document: map[string]any{"admin_key": "507f1f77bcf8:" + hex.EncodeToString(ghost)}, foreign: map[string]any{"admin_key": "507f1f77bcf8:" + strings.Repeat("00", 32)},
			options: []jwt.ParserOption{jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("/admin/")},
			check:   lasting(5*time.Minute, map[string]any{"kid": "507f1f77bcf8"}, nil),
		},
		{
			provider: "zoom-legacy", prefix: "Bearer ", key: []byte(zoom),
			document: map[string]any{"api_key": "key", "api_secret": zoom}, foreign: map[string]any{"api_secret": "another"},
			options: []jwt.ParserOption{jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("key")},
		},
	}
}

// With the README's policy, once it is given, Vault signs with each algorithm; a key that is not
// for it is no key.
func TestVaultsTransitSigns(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.MountTransit()
	var others, beside strings.Builder
	kinds := map[string]string{"RS256": "rsa-2048", "PS384": "rsa-3072", "ES256": "ecdsa-p256", "ES384": "ecdsa-p384", "ES512": "ecdsa-p521", "EdDSA": "ed25519"}
	policy, err := world.PolicyText("upstream-auth-transit")
	w.Check(err)
	var rules strings.Builder
	for algorithm, kind := range kinds {
		name := strings.ToLower(algorithm)
		public := w.TransitKey(name, kind)
		rules.WriteString(strings.ReplaceAll(policy, "api-client", name))
		a := &jwtAPI{prefix: "Bearer ", key: public, options: []jwt.ParserOption{jwt.WithValidMethods([]string{algorithm}), jwt.WithSubject("acme")}}
		fmt.Fprintf(&others, "provider %s {\njwt {\nalgorithm %s\nkey vault_transit %s\nclaim sub {credential.account}\n}\n}\n", name, algorithm, name)
		fmt.Fprintf(&beside, "http://%s {\nbind fd/3\nupstream_auth %s %s\n}\n", name, name, w.Serve(httptest.NewServer(a)))
		_, err = w.Vault.Root.KVv2("secret").Put(w.Ctx, "upstream-auth/"+name+"/acme", map[string]any{"account": "acme"})
		w.Check(err)
	}
	fmt.Fprintf(&others, "provider mixed {\njwt {\nalgorithm ES256\nkey vault_transit es384\nclaim sub {credential.account}\n}\n}\n")
	fmt.Fprintf(&beside, "http://mixed {\nbind fd/3\nupstream_auth mixed http://127.0.0.1:1\n}\n")
	_, err = w.Vault.Root.KVv2("secret").Put(w.Ctx, "upstream-auth/mixed/acme", map[string]any{"account": "acme"})
	w.Check(err)
	w.Start(world.Configuration{Others: others.String(), Beside: beside.String()})

	answer := func(provider string, status int) error {
		res, err := w.Send(w.Ctx, world.Request{Site: provider, Tenant: "acme", ID: provider})
		if err == nil && (res.StatusCode != status || status == 503 && res.Header.Get("Upstream-Auth-Error") != "store_unavailable") {
			err = fmt.Errorf("%s: got %d %s", provider, res.StatusCode, res.Content)
		}
		return err
	}
	logged := func(text string) func() error {
		return func() error { // the answer may be here before the line in the log
			if !bytes.Contains(w.Caddy.Output(), []byte(text)) {
				return fmt.Errorf("the log does not say %q", text)
			}
			return nil
		}
	}
	w.Check(answer("rs256", 503))
	w.Eventually(logged("the store's policy does not allow update on transit/sign/rs256"))
	w.Check(w.Vault.Root.Sys().PutPolicyWithContext(w.Ctx, "upstream-auth-transit", rules.String()))
	w.Check(w.Vault.Grant(w.Ctx, world.Policy, "upstream-auth-transit"))
	for algorithm := range kinds {
		w.Eventually(func() error { return answer(strings.ToLower(algorithm), 200) })
	}
	w.Check(answer("mixed", 503))
	w.Eventually(logged("what signs has no key for ES256"))
}

// What is sent is good for a library that is not ours, and does not sign for us, with each
// algorithm, and by the rules of APIs in the examples. With the key of another account it is not,
// and is sent once.
func TestJWTsAreGoodForAnotherLibrary(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	var apis []*jwtAPI
	for _, algorithm := range []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		apis = append(apis, ofAlgorithm(t, algorithm))
	}
	for _, a := range examplesOfAPIs(t) {
		a.scheme = exampleJWT(t, a.provider)
		apis = append(apis, a)
	}
	var others, beside strings.Builder
	kv := w.Vault.Root.KVv2("secret")
	for _, a := range apis {
		fmt.Fprintf(&others, "provider %s {\n%s\n}\n", a.provider, a.scheme)
		fmt.Fprintf(&beside, "http://%s {\nbind fd/3\nupstream_auth %s %s\n}\n", a.provider, a.provider, w.Serve(httptest.NewServer(a)))
		foreign := maps.Clone(a.document)
		for name, key := range a.foreign {
			w.Secrets.Add("a key", a.document[name].(string))
			foreign[name] = key
		}
		_, err := kv.Put(w.Ctx, "upstream-auth/"+a.provider+"/acme", a.document)
		w.Check(err)
		_, err = kv.Put(w.Ctx, "upstream-auth/"+a.provider+"/foreign", foreign)
		w.Check(err)
	}
	w.Start(world.Configuration{Others: others.String(), Beside: beside.String()})
	for _, a := range apis {
		t.Run(a.provider, func(t *testing.T) {
			w := w.Within(t)
			for tenant, want := range map[string]int{"acme": 200, "foreign": 401} {
				before := a.requests.Load()
				res, err := w.Send(w.Ctx, world.Request{Site: a.provider, Tenant: tenant, ID: a.provider + tenant})
				w.Check(err)
				if sent := a.requests.Load() - before; res.StatusCode != want || sent != 1 {
					t.Errorf("%s: %d %s, sent %d times", tenant, res.StatusCode, res.Content, sent)
				}
			}
		})
	}
}
