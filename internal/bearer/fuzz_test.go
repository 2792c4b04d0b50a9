package bearer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/tidwall/gjson"
)

// FuzzVerify presents what the fuzzer makes up in three ways: as it is, as the
// header of a token, and as a payload that is signed well.
func FuzzVerify(f *testing.F) {
	set := keySetOf(jwk(f, p256().Public(), `"kid":"1"`), jwk(f, rsaKey().Public(), ""))
	verifiers := []*Verifier{
		newVerifier(f, Config{Token: Token{SecretFile: writeFile(f, secret)}, Operators: Operators{Claim: "role", Value: "op"}}),
		withKeys(f, set, "ES256", "RS256"),
	}
	for _, seed := range []string{
		"", "Bearer ", "Bearer a.b.c", "Basic dTpw", flattened(exampleHMAC), `{"id":"acme","exp":1e10,"role":["op"]}`,
		"Bearer " + exampleHMAC, "Bearer " + exampleECDSA, `{"alg":"HS256","crit":["b64"],"b64":false}`, `{"alg":"none"}`,
		`{"alg":"ES256","kid":"1","jwk":` + jwk(f, p256Two().Public(), "") + `}`, `{"alg":"RS256","x5c":["AAAA"],"x5t":"AA"}`,
		`{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":null,"y":null}}`, `{"alg":"RS256","jwk":{"kty":"RSA","n":"AA","e":""}}`,
		`{"iss":null,"aud":["a",1],"exp":-1e400}`, `{"exp":1e10,"id":"acme","a":` + nested(maxDepth) + `}`, `[{"exp":1}]`,
	} {
		f.Add(seed)
	}
	payload := claims("")
	f.Fuzz(func(t *testing.T, text string) {
		signed := sign(`{"alg":"HS256"}`, text, secret)
		for _, authorization := range []string{
			text, "Bearer " + text, "Bearer " + signed, "Bearer " + sign(text, payload, nil), "Bearer " + sign(text, payload, secret),
		} {
			for i, v := range verifiers {
				caller, err := v.Verify(t.Context(), authorization)
				switch {
				case err != nil:
					if caller != (Caller{}) || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrMissing) {
						t.Errorf("caller %+v with error %v", caller, err)
					}
				case i > 0 || !isSigned(authorization):
					t.Errorf("accepted without a signature: %q", authorization)
				case authorization == "Bearer "+signed && string(caller.Tenant) != gjson.Get(text, "id").String():
					t.Errorf("tenant %q of %q", caller.Tenant, text)
				}
			}
		}
	})
}

// isSigned reports whether the signature is the one that the secret makes.
func isSigned(authorization string) bool {
	_, token, _ := strings.Cut(authorization, " ")
	token = strings.Trim(token, " ")
	end := strings.LastIndexByte(token, '.')
	header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
	return err == nil && gjson.GetBytes(header, "alg").String() == "HS256" &&
		token[end+1:] == encode(signature(`{"alg":"HS256"}`, token[:end], secret))
}

func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{
		keySetOf(jwk(f, p256().Public(), `"kid":"1","key_ops":["verify"]`), jwk(f, rsaKey().Public(), ""), jwk(f, edwards().Public(), "")),
		keySetOf(jwk(f, rsaKey(), ""), jwk(f, []byte(secret), "")), keySetOf(`{"kty":"EC","crv":"P-256","x":null,"y":null}`, `{"kty":"RSA"}`),
		keySetOf(offCurve(), `null`, `1`), `{"keys":null}`, ``,
	} {
		f.Add(seed)
	}
	var tokens []*jose.JSONWebSignature
	for algorithm, key := range map[string]any{"RS256": rsaOther(), "PS256": rsaOther(), "ES256": p256Two(), "ES384": p384(), "ES512": p521(), "EdDSA": edwards()} {
		token, err := parseToken("Bearer "+sign(fmt.Sprintf(`{"alg":%q}`, algorithm), claims(""), key), keySetAlgorithms)
		if err != nil {
			f.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := parseKeySet([]byte(text))
		if err != nil {
			return
		}
		for _, token := range tokens {
			_, _ = verify(token, set)
		}
		for _, key := range set.Keys {
			if !key.IsPublic() {
				t.Errorf("key %T", key.Key)
			}
		}
	})
}
