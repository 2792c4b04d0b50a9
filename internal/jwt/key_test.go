package jwt

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func jwk(private any) string {
	text, err := json.Marshal(jose.JSONWebKey{Key: private, KeyID: "from-jwk"})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestFormsOfAKey(t *testing.T) {
	ecDER, err := x509.MarshalECPrivateKey(p256())
	if err != nil {
		t.Fatal(err)
	}
	rsaDER := x509.MarshalPKCS1PrivateKey(rsaKey())
	twiceEncoded, err := json.Marshal(pkcs8(rsaKey()))
	if err != nil {
		t.Fatal(err)
	}
	der, _ := pem.Decode([]byte(pkcs8(edwards())))
	type form struct{ algorithm, template, text, id string }
	for name, test := range map[string]form{
		"PKCS #1":          {"RS256", "{credential.key}", inPEM("RSA PRIVATE KEY", rsaDER), ""},
		"PKCS #8":          {"PS512", "{credential.key}", pkcs8(rsaKey()), ""},
		"SEC 1":            {"ES256", "{credential.key}", inPEM("EC PRIVATE KEY", ecDER), ""},
		"with parameters":  {"ES256", "{credential.key}", inPEM("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + inPEM("EC PRIVATE KEY", ecDER), ""},
		"pasted from JSON": {"RS256", "{credential.key}", strings.Trim(string(twiceEncoded), `"`), ""},
		"Windows' lines":   {"RS256", "{credential.key}", strings.ReplaceAll(pkcs8(rsaKey()), "\n", "\r\n"), ""},
		"text before it":   {"EdDSA", "{credential.key}", "Bag Attributes\n" + pkcs8(edwards()), ""},
		"DER in base64":    {"EdDSA", "{credential.key|unbase64}", base64.StdEncoding.EncodeToString(der.Bytes), ""},
		"JWK of RSA":       {"RS384", "{credential.key}", jwk(rsaKey()), "from-jwk"},
		"JWK of EC":        {"ES256", "{credential.key}", jwk(p256()), "from-jwk"},
		"JWK of OKP":       {"EdDSA", "{credential.key}", jwk(edwards()), "from-jwk"},
		"JWK of a secret":  {"HS256", "{credential.key}", jwk([]byte(secret)), "from-jwk"},
		"hexadecimal":      {"HS256", "{credential.key|after::|unhex}", "id:" + "6120736563726574206f6620333620636861726163746572732c2061732069742069732e", ""},
		"base64":           {"HS512", "{credential.key|unbase64}", base64.URLEncoding.EncodeToString([]byte(secret)), ""},
	} {
		_, public := keyFor(test.algorithm)
		m := newMinter(t, Config{Algorithm: test.algorithm, Key: parse(t, test.template)})
		token := mint(t, m, newCredential(t, map[string]any{"key": test.text}))
		header, _ := decode(token)
		if id, _ := header["kid"].(string); !verifies(token, public) || id != test.id {
			t.Errorf("%s: %v is not good", name, header)
		}
	}

	m := newMinter(t, Config{Algorithm: "ES256", Key: parse(t, "{credential.jwk|@tostr}"), Header: fields(t, "kid", "mine")})
	token := mint(t, m, newCredential(t, map[string]any{"jwk": json.RawMessage(jwk(p256()))}))
	if header, _ := decode(token); !verifies(token, p256().Public()) || header["kid"] != "mine" {
		t.Errorf("an object: %v is not good", header)
	}
}

func TestShortSecretOfAnAPIIsUsed(t *testing.T) {
	for _, key := range []string{"short", "{not a JWK}"} {
		if token := mint(t, newMinter(t, Config{Algorithm: "HS512", Key: parse(t, "{credential.k}")}), newCredential(t, map[string]any{"k": key})); !verifies(token, []byte(key)) {
			t.Errorf("%s is not good", token)
		}
	}
}

func TestKeysThatDoNotGo(t *testing.T) {
	public, err := x509.MarshalPKIXPublicKey(p256().Public())
	if err != nil {
		t.Fatal(err)
	}
	const noKey = "is not a private key in PEM (PKCS #1, PKCS #8, SEC 1), nor a JWK"
	for name, test := range map[string]struct{ algorithm, text, want string }{
		"secret for RSA":       {"RS256", secret, noKey},
		"PEM for HMAC":         {"HS256", pkcs8(p256()), "is not a key for HS256"},
		"public PEM for HMAC":  {"HS256", inPEM("PUBLIC KEY", public), "has no private key in PEM in it"},
		"EC for RSA":           {"RS256", pkcs8(p256()), "is not a key for RS256"},
		"RSA for EC":           {"ES256", pkcs8(rsaKey()), "is not a key for ES256"},
		"another curve":        {"ES384", pkcs8(p256()), "is not a key for ES384"},
		"EC for EdDSA":         {"EdDSA", pkcs8(p256()), "is not a key for EdDSA"},
		"EdDSA for EC":         {"ES256", pkcs8(edwards()), "is not a key for ES256"},
		"short RSA":            {"RS256", pkcs8(newRSA(1024)), "is shorter than 2048 bits"},
		"short RSA for PSS":    {"PS256", jwk(newRSA(1024)), "is shorter than 2048 bits"},
		"public JWK":           {"ES256", jwk(p256().Public()), "is a public key"},
		"secret JWK for RSA":   {"RS256", jwk([]byte(secret)), "is not a key for RS256"},
		"RSA JWK for HMAC":     {"HS256", jwk(rsaKey()), "is not a key for HS256"},
		"encrypted":            {"RS256", inPEM("ENCRYPTED PRIVATE KEY", []byte{1}), "is encrypted with a password"},
		"encrypted in RFC1421": {"RS256", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "is encrypted with a password"},
		"broken PEM":           {"RS256", "-----BEGIN PRIVATE KEY-----\nAAAA", "has no private key in PEM in it"},
		"broken DER":           {"RS256", inPEM("PRIVATE KEY", []byte("x")), noKey},
		"no JWK":               {"ES256", `{"kty":"EC"}`, noKey},
	} {
		_, err := newMinter(t, Config{Algorithm: test.algorithm, Key: parse(t, "{credential.key}")}).Bind(newCredential(t, map[string]any{"key": test.text}))
		var field *credential.FieldError
		if !errors.As(err, &field) || field.Path != "key" || field.Reason != test.want {
			t.Errorf("%s: got %v", name, err)
		}
		for line := range strings.Lines(test.text) {
			if line = strings.TrimSpace(line); line != "" && err != nil && strings.Contains(err.Error(), line) {
				t.Errorf("%s: %v tells the key", name, err)
			}
		}
	}
}

func TestKeyFileIsReadAnew(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newMinter(t, Config{Algorithm: "RS256", KeyFile: name})
	if err := m.CheckKey(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	source, err := m.Bind(newCredential(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []any{rsaKey(), rsaOther(), rsaKey()} {
		write(pkcs8(private))
		for range 2 {
			token, err := source.Mint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if first := verifies(token.Text, rsaKey().Public()); first != (private == rsaKey()) || !first && !verifies(token.Text, rsaOther().Public()) {
				t.Error("the JWT is not of the file's key")
			}
		}
	}
	for _, text := range []string{"", "s3cret", pkcs8(p256()), strings.Repeat("s3cret", 20_000)} {
		write(text)
		if _, err := source.Mint(t.Context()); !errors.Is(err, credential.ErrUnavailable) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
		if err := m.CheckKey(); err == nil {
			t.Error("the check found nothing")
		}
	}

	write(secret + "\r\n")
	if token := mint(t, newMinter(t, Config{Algorithm: "HS256", KeyFile: name}), newCredential(t, nil)); !verifies(token, []byte(secret)) {
		t.Error("the line's end counts")
	}
}

func FuzzKey(f *testing.F) {
	f.Add("RS256", pkcs8(p256()))
	f.Add("HS256", `{"kty":"oct","k":"AAAA"}`)
	f.Add("ES256", `-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END`)
	f.Fuzz(func(t *testing.T, algorithm, text string) {
		m, err := New(Config{Algorithm: algorithm, Key: parse(t, "{credential.key}")})
		if err != nil {
			return
		}
		source, err := m.Bind(newCredential(t, map[string]any{"key": text}))
		if err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if _, err := source.Mint(t.Context()); err != nil {
			t.Fatalf("%s was taken, but: %v", algorithm, err)
		}
	})
}

func TestKeyThatTakesLongToSignWithIsRefused(t *testing.T) {
	long := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), maxRSA), E: 65537}}
	if wrong := unfit(long, "RS256"); wrong != "is longer than 4096 bits" {
		t.Errorf("it %s", wrong)
	}
}
