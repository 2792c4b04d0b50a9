package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	rsaOther = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	p256     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p384     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
	p521     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P521()) })
	edwards  = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) })
)

const secret = "a secret of 36 characters, as it is."

func newRSA(bits int) *rsa.PrivateKey {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return private
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return private
}

// pkcs8 returns a key in PEM.
func pkcs8(private any) string {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return inPEM("PRIVATE KEY", der)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// keyFor returns a key for an algorithm, as PEM or text, and what verifies.
func keyFor(algorithm string) (text string, public any) {
	switch algorithm {
	case "HS256", "HS384", "HS512":
		return secret, []byte(secret)
	case "ES256":
		return pkcs8(p256()), p256().Public()
	case "ES384":
		return pkcs8(p384()), p384().Public()
	case "ES512":
		return pkcs8(p521()), p521().Public()
	case "EdDSA":
		return pkcs8(edwards()), edwards().Public()
	default:
		return pkcs8(rsaKey()), rsaKey().Public()
	}
}

// verifies checks a signature by what the standard library has, and as RFC 7518 says.
func verifies(token string, public any) bool {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	header, _ := decode(token)
	algorithm, _ := header["alg"].(string)
	if err != nil || algorithm == "" {
		return false
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512, "DSA": crypto.SHA512}[algorithm[2:]]
	digest := hash.New()
	digest.Write([]byte(token[:dot]))
	switch key := public.(type) {
	case []byte:
		mac := hmac.New(hash.New, key)
		mac.Write([]byte(token[:dot]))
		return algorithm[:2] == "HS" && hmac.Equal(mac.Sum(nil), signature)
	case *rsa.PublicKey:
		if algorithm[:2] == "PS" {
			return rsa.VerifyPSS(key, hash, digest.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return algorithm[:2] == "RS" && rsa.VerifyPKCS1v15(key, hash, digest.Sum(nil), signature) == nil
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if algorithm[:2] != "ES" || len(signature) != 2*size {
			return false
		}
		return ecdsa.Verify(key, digest.Sum(nil), new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	case ed25519.PublicKey:
		return algorithm == "EdDSA" && ed25519.Verify(key, []byte(token[:dot]), signature)
	}
	return false
}

// decode returns what is in a JWT, with numbers as they are written.
func decode(token string) (header, claims map[string]any) {
	parts := strings.Split(token, ".")
	for i, target := range []*map[string]any{&header, &claims} {
		text, _ := base64.RawURLEncoding.DecodeString(parts[i])
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.UseNumber()
		_ = d.Decode(target)
	}
	return header, claims
}

func parse(t testing.TB, text string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// fields reads names and values.
func fields(t testing.TB, namesAndValues ...string) (all []Field) {
	t.Helper()
	for i := 0; i < len(namesAndValues); i += 2 {
		all = append(all, Field{namesAndValues[i], parse(t, namesAndValues[i+1])})
	}
	return all
}

func newCredential(t testing.TB, fields map[string]any) *credential.Credential {
	t.Helper()
	if fields == nil {
		fields = map[string]any{}
	}
	document, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	c, err := credential.New(credential.Document{Data: document, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newMinter(t testing.TB, c Config) *Minter {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mint(t testing.TB, m *Minter, c *credential.Credential) string {
	t.Helper()
	source, err := m.Bind(c)
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token.Text
}
