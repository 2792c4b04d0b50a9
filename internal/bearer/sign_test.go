package bearer

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
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Keys for all tests: the first is trusted, the other is the attacker's.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	rsaOther = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	rsaWeak  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	p256     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p256Two  = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	p384     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P384()) })
	p521     = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P521()) })
	edwards  = sync.OnceValue(func() ed25519.PrivateKey {
		_, private, err := ed25519.GenerateKey(nil)
		must(err)
		return private
	})
)

func newRSA(bits int) *rsa.PrivateKey {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	must(err)
	return private
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(err)
	return private
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// sign returns a token in compact form. It is made by hand: the library would not
// make most of what it has to refuse. Without a key the signature is empty.
func sign(header, payload string, key any) string {
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	return input + "." + encode(signature(header, input, key))
}

func signature(header, input string, key any) []byte {
	var parameters struct {
		Algorithm string `json:"alg"`
	}
	_ = json.Unmarshal([]byte(header), &parameters)
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(parameters.Algorithm, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(parameters.Algorithm, "512"):
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write([]byte(input))
	digest := h.Sum(nil)

	switch key := key.(type) {
	case nil:
		return nil
	case string:
		mac := hmac.New(hash.New, []byte(key))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	case *rsa.PrivateKey:
		var signed []byte
		var err error
		if strings.HasPrefix(parameters.Algorithm, "PS") {
			signed, err = rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signed, err = rsa.SignPKCS1v15(nil, key, hash, digest)
		}
		must(err)
		return signed
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		must(err)
		size := (key.Params().BitSize + 7) / 8
		signed := make([]byte, 2*size)
		r.FillBytes(signed[:size])
		s.FillBytes(signed[size:])
		return signed
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(input))
	default:
		panic("no such key")
	}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// jwk returns a key as JSON with more parameters before its own. It is a private
// one if key is.
func jwk(t testing.TB, key any, more string) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if more == "" {
		return string(text)
	}
	return "{" + more + "," + string(text[1:])
}

// keySetOf returns a JWK set as JSON.
func keySetOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
