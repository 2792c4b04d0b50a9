package bearer

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKeysThatAreUsed(t *testing.T) {
	type signed struct{ algorithm, token string }
	var tokens []signed
	for _, c := range []struct {
		algorithms string
		key        any
	}{
		{"RS256 RS384 RS512 PS256 PS384 PS512", rsaKey()}, {"RS256", rsaWeak()},
		{"ES256", p256()}, {"ES384", p384()}, {"ES512", p521()}, {"EdDSA", edwards()},
	} {
		for algorithm := range strings.FieldsSeq(c.algorithms) {
			tokens = append(tokens, signed{algorithm, sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), c.key)})
		}
	}
	for name, c := range map[string]struct {
		key  string
		want string // the algorithms that it is used with
	}{
		"RSA":                     {jwk(t, rsaKey().Public(), ""), "RS256 RS384 RS512 PS256 PS384 PS512"},
		"RSA for RS256":           {jwk(t, rsaKey().Public(), `"alg":"RS256"`), "RS256"},
		"RSA for PS512":           {jwk(t, rsaKey().Public(), `"alg":"PS512"`), "PS512"},
		"RSA with 1024 bits":      {jwk(t, rsaWeak().Public(), ""), ""},
		"RSA private":             {jwk(t, rsaKey(), ""), ""},
		"RSA for ES256":           {jwk(t, rsaKey().Public(), `"alg":"ES256"`), ""},
		"RSA for HS256":           {jwk(t, rsaKey().Public(), `"alg":"HS256"`), ""},
		"RSA for none":            {jwk(t, rsaKey().Public(), `"alg":"none"`), ""},
		"RSA without exponent":    {`{"kty":"RSA","n":"` + strings.Repeat("zzzz", 100) + `"}`, ""},
		"RSA exponent zero":       {`{"kty":"RSA","n":"` + strings.Repeat("zzzz", 100) + `","e":"AA"}`, ""},
		"RSA, 100,000 bits":       {`{"kty":"RSA","n":"` + strings.Repeat("zzzz", 4000) + `","e":"AQAB"}`, ""},
		"P-256":                   {jwk(t, p256().Public(), ""), "ES256"},
		"P-384":                   {jwk(t, p384().Public(), ""), "ES384"},
		"P-521":                   {jwk(t, p521().Public(), ""), "ES512"},
		"P-224":                   {`{"kty":"EC","crv":"P-224","x":"AAAA","y":"AAAA"}`, ""},
		"P-256 private":           {jwk(t, p256(), ""), ""},
		"P-256 off the curve":     {offCurve(), ""},
		"P-256 without y":         {`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}`, ""},
		"P-256, coordinates null": {`{"kty":"EC","crv":"P-256","x":null,"y":null}`, ""},
		"Ed25519":                 {jwk(t, edwards().Public(), ""), "EdDSA"},
		"Ed25519 private":         {jwk(t, edwards(), ""), ""},
		"Ed25519, short":          {`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`, ""},
		"X25519":                  {`{"kty":"OKP","crv":"X25519","x":"` + encode(make([]byte, 32)) + `"}`, ""},
		"oct":                     {jwk(t, []byte(secret), ""), ""},
		"EC with a secret beside": {jwk(t, p256().Public(), `"k":"AAAA"`), ""},
		"no kty":                  {`{"crv":"P-256"}`, ""},
		"unknown kty":             {`{"kty":"AKP","pub":"AAAA"}`, ""},
		"for signatures":          {jwk(t, p256().Public(), `"use":"sig","key_ops":["sign","verify"]`), "ES256"},
		"for encryption":          {jwk(t, p256().Public(), `"use":"enc"`), ""},
		"use SIG":                 {jwk(t, p256().Public(), `"use":"SIG"`), ""},
		"operation sign alone":    {jwk(t, p256().Public(), `"key_ops":["sign"]`), ""},
		"use and key_ops differ":  {jwk(t, p256().Public(), `"use":"sig","key_ops":["deriveKey"]`), ""},
		"key_ops null":            {jwk(t, p256().Public(), `"key_ops":null`), "ES256"},
		"a name twice":            {jwk(t, p256().Public(), `"use":"sig","use":"sig"`), ""},
		"foreign certificate":     {jwk(t, p256().Public(), `"x5c":["AAAA"]`), ""},
		"not an object":           {`"key"`, ""},
		"null":                    {`null`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := withKeys(t, keySetOf(c.key, jwk(t, p256Two().Public(), "")), everyAlgorithm()...)
			wantAccepted(t, v, sign(`{"alg":"ES256"}`, claims(""), p256Two())) // the key beside
			var got []string
			for _, signed := range tokens {
				if _, err := v.Verify(t.Context(), "Bearer "+signed.token); err == nil {
					got = append(got, signed.algorithm)
				} else if !errors.Is(err, errSignature) {
					t.Errorf("%s: %v", signed.algorithm, err)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("used with %q, want %q", got, c.want)
			}
		})
	}
}

// everyAlgorithm returns those that a key set can be used with.
func everyAlgorithm() []string {
	var names []string
	for _, algorithm := range keySetAlgorithms {
		names = append(names, string(algorithm))
	}
	return names
}

func offCurve() string {
	size := make([]byte, elliptic.P256().Params().BitSize/8)
	size[0] = 1
	return `{"kty":"EC","crv":"P-256","x":"` + encode(size) + `","y":"` + encode(size) + `"}`
}

func TestKeySetsThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          ``,
		"not JSON":       `<html>canary`,
		"array":          `[]`,
		"null":           `null`,
		"no keys":        `{}`,
		"keys null":      `{"keys":null}`,
		"keys an object": `{"keys":{}}`,
		"Keys for keys":  `{"Keys":[]}`,
		"keys twice":     `{"keys":[],"keys":[]}`,
		"two documents":  `{"keys":[]}{"keys":[]}`,
		"one key":        jwk(t, p256().Public(), ""),
		"nested deeply":  `{"keys":[` + nested(maxDepth) + `]}`,
		"all too deep":   strings.Repeat("[", maxKeySet),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseKeySet([]byte(text)); !errors.Is(err, errNotKeySet) {
				t.Errorf("error %v", err)
			}
		})
	}
	if set, err := parseKeySet([]byte(`{"keys":[],"more":1}`)); err != nil || len(set.Keys) != 0 {
		t.Errorf("an empty set is %v, error %v", set, err)
	}
}

func TestKeysAreBounded(t *testing.T) {
	key, other := jwk(t, p256().Public(), ""), `{"kty":"oct","k":"AAAA"}`
	many := make([]string, 0, 2*maxKeys)
	for range maxKeys {
		many = append(many, key, other)
	}
	if _, err := parseKeySet([]byte(keySetOf(many...))); err != nil {
		t.Errorf("error %v for %d keys", err, maxKeys)
	}
	if _, err := parseKeySet([]byte(keySetOf(append(many, key)...))); !errors.Is(err, errTooManyKeys) {
		t.Errorf("error %v for one more", err)
	}
}

func TestWhichKeysAreTried(t *testing.T) {
	named := func(kid string) string { return `"kid":"` + kid + `"` }
	set := keySetOf(
		jwk(t, rsaKey().Public(), named("r")), jwk(t, p384().Public(), named("same")), jwk(t, p256().Public(), named("same")),
		jwk(t, p256Two().Public(), ""), jwk(t, edwards().Public(), named("e")))
	v := withKeys(t, set, "RS256", "ES256", "EdDSA")
	for name, token := range map[string]string{
		"the one that is named":          sign(`{"alg":"RS256","kid":"r"}`, claims(""), rsaKey()),
		"the one that fits, of two":      sign(`{"alg":"ES256","kid":"same"}`, claims(""), p256()),
		"none is named: the first":       sign(`{"alg":"ES256"}`, claims(""), p256()),
		"none is named: the second":      sign(`{"alg":"ES256"}`, claims(""), p256Two()),
		"none is named: of another kind": sign(`{"alg":"EdDSA"}`, claims(""), edwards()),
		"the name is empty":              sign(`{"alg":"ES256","kid":""}`, claims(""), p256()),
	} {
		t.Run(name, func(t *testing.T) { wantAccepted(t, v, token) })
	}
	wantRefused(t, v, sign(`{"alg":"ES256","kid":"same"}`, claims(""), p256Two()), errSignature)
	wantRefused(t, v, sign(`{"alg":"ES256","kid":"other"}`, claims(""), p256Two()), errUnknownKey)
}
