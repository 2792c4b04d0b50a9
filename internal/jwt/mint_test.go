package jwt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func TestEachAlgorithm(t *testing.T) {
	for _, algorithm := range Algorithms {
		t.Run(algorithm, func(t *testing.T) {
			text, public := keyFor(algorithm)
			m := newMinter(t, Config{Algorithm: algorithm, Key: parse(t, "{credential.key}"), Claims: fields(t, "iss", "me")})
			token := mint(t, m, newCredential(t, map[string]any{"key": text}))
			header, claims := decode(token)
			if !verifies(token, public) || header["alg"] != algorithm || header["typ"] != "JWT" || len(header) != 2 || claims["iss"] != "me" {
				t.Errorf("got %v %v", header, claims)
			}
			if verifies(token[:5]+"x"+token[6:], public) || verifies(token, rsaOther().Public()) || verifies(token, []byte("another secret")) {
				t.Error("it is good for others")
			}
		})
	}
}

func TestTimesAndIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(500 * time.Millisecond)
		now := time.Now().Unix()
		for lifetime, early := range map[time.Duration]int64{0: 10, 20 * time.Minute: 10, time.Minute: 6, 10 * time.Second: 1} {
			m := newMinter(t, Config{Algorithm: "HS256", Key: parse(t, secret), Lifetime: lifetime})
			if lifetime == 0 {
				lifetime = 5 * time.Minute
			}
			_, claims := decode(mint(t, m, newCredential(t, nil)))
			iat, exp := number(claims["iat"]), number(claims["exp"])
			if iat != now-early && iat != now-early-1 || exp-iat != int64(lifetime/time.Second) || number(claims["nbf"]) != iat {
				t.Errorf("%v: got %v at %d", lifetime, claims, now)
			}
			_, again := decode(mint(t, m, newCredential(t, nil)))
			if id, _ := claims["jti"].(string); len(id) < 20 || again["jti"] == id {
				t.Errorf("got jti %v and %v", id, again["jti"])
			}
		}
	})
}

func number(v any) int64 {
	text, _ := v.(json.Number)
	n, _ := text.Int64()
	return n
}

func TestClaimsAndHeader(t *testing.T) {
	c := newCredential(t, map[string]any{
		"id": json.RawMessage("12345678901234567890"), "admin": true, "name": "Grüße <b>", "scopes": []string{"a", "b"}, "fields": map[string]any{"x": 1}, "kid": 7,
	})
	m := newMinter(t, Config{
		Algorithm: "HS256", Key: parse(t, secret),
		Header: fields(t, "kid", "{credential.kid}", "typ", "at+jwt"),
		Claims: fields(t, "sub", "{credential.id}", "admin", "{credential.admin}", "text", "id {credential.id}", "name", "{credential.name}",
			"scope", "{credential.scopes}", "aud", "one", "aud", "{credential.id}", "fields.all", "{credential.fields}", "fields.deep.er", "x",
			`https://x\.example/role`, "y", "exp", "{credential.id}", "jti", "mine", "version", "{credential.version|default:2}"),
	})
	header, claims := decode(mint(t, m, c))
	if !reflect.DeepEqual(header, map[string]any{"alg": "HS256", "typ": "at+jwt", "kid": "7"}) {
		t.Errorf("header %v", header)
	}
	delete(claims, "iat")
	delete(claims, "nbf")
	id := json.Number("12345678901234567890")
	if want := map[string]any{
		"sub": id, "admin": true, "text": "id 12345678901234567890", "name": "Grüße <b>", "scope": []any{"a", "b"}, "aud": []any{"one", id},
		"fields":                 map[string]any{"all": map[string]any{"x": json.Number("1")}, "deep": map[string]any{"er": "x"}},
		"https://x.example/role": "y", "exp": id, "jti": "mine", "version": "2",
	}; !reflect.DeepEqual(claims, want) {
		t.Errorf("got  %v\nwant %v", claims, want)
	}
}

func TestBindNamesTheFieldThatIsWrong(t *testing.T) {
	m := newMinter(t, Config{
		Algorithm: "ES256", Key: parse(t, "{credential.private.key}"), Header: fields(t, "kid", "{credential.kid}"), Claims: fields(t, "iss.x", "{credential.iss}"),
	})
	good := pkcs8(p256())
	for name, test := range map[string]struct {
		fields       map[string]any
		path, reason string
	}{
		"no kid":       {map[string]any{"iss": "x", "private": map[string]any{"key": good}}, "kid", "is missing"},
		"no iss":       {map[string]any{"kid": "x", "private": map[string]any{"key": good}}, "iss", "is missing"},
		"no key":       {map[string]any{"kid": "x", "iss": "x"}, "private.key", "is missing"},
		"another key":  {map[string]any{"kid": "x", "iss": "x", "private": map[string]any{"key": pkcs8(p384())}}, "private.key", "is not a key for ES256"},
		"no key in it": {map[string]any{"kid": "x", "iss": "x", "private": map[string]any{"key": "s3cret"}}, "private.key", "is not a private key in PEM (PKCS #1, PKCS #8, SEC 1), nor a JWK"},
	} {
		_, err := m.Bind(newCredential(t, test.fields))
		var field *credential.FieldError
		if !errors.As(err, &field) || field.Path != test.path || field.Reason != test.reason {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSchemaOfWhatIsNeeded(t *testing.T) {
	m := newMinter(t, Config{
		Algorithm: "HS256", Key: parse(t, "{credential.admin_key|after::|unhex}"), Header: fields(t, "kid", "{credential.admin_key|before::}"),
		Claims: fields(t, "aud", "x", "any", "{credential.any}", "part", "{credential.part|default:x}"),
	})
	b := new(template.SchemaBuilder)
	m.Describe(b)
	schema, err := credential.CompileSchema(b.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for document, fits := range map[string]bool{
		`{"admin_key": "a:00", "any": [1]}`: true, `{"admin_key": "a:00", "any": null}`: false, `{"any": [1]}`: false, `{"admin_key": "", "any": 1}`: false,
	} {
		c, err := credential.New(credential.Document{Data: []byte(document)})
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Check(c); fits != (err == nil) {
			t.Errorf("%s: %v", document, err)
		}
	}
	if !schema.WriteOnly("admin_key") || schema.WriteOnly("any") {
		t.Error("the key can be shown, or others cannot")
	}
}

// kept is a [Signer].
type kept struct {
	err       error
	algorithm string
	size      int // of a signature
}

func (k *kept) Sign(_ context.Context, algorithm string, input []byte) ([]byte, error) {
	k.algorithm = algorithm
	if k.err != nil {
		return nil, k.err
	}
	return bytes.Repeat(sum("HS256", []byte("kept"), input), k.size/32), nil
}

func TestKeyThatSomebodyElseKeeps(t *testing.T) {
	k := &kept{size: 256}
	m := newMinter(t, Config{Algorithm: "PS384", Signer: k, Header: fields(t, "kid", "v1")})
	token := mint(t, m, newCredential(t, nil))
	header, _ := decode(token)
	input, signature, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(signature, ".")
	if k.algorithm != "PS384" || header["alg"] != "PS384" || header["kid"] != "v1" || signature != base64.RawURLEncoding.EncodeToString(bytes.Repeat(sum("HS256", []byte("kept"), []byte(input+"."+payload)), 8)) {
		t.Errorf("got %s of %v", k.algorithm, header)
	}
	for algorithm, size := range map[string]int{"RS256": 64, "ES256": 96, "ES384": 64, "ES512": 128, "EdDSA": 256, "PS256": 128} {
		source, err := newMinter(t, Config{Algorithm: algorithm, Signer: &kept{size: size}}).Bind(newCredential(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		if token, err := source.Mint(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "what signs has no key for "+algorithm) {
			t.Errorf("%s of another key's size: %v, %v", algorithm, token, err)
		}
	}
	k.err = credential.ErrUnavailable
	source, err := m.Bind(newCredential(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if token, err := source.Mint(t.Context()); !errors.Is(err, credential.ErrUnavailable) || token.Text != "" {
		t.Errorf("got %v", err)
	}
}

func BenchmarkMint(b *testing.B) {
	for _, algorithm := range []string{"HS256", "RS256", "PS256", "ES256", "EdDSA"} {
		text, _ := keyFor(algorithm)
		m := newMinter(b, Config{Algorithm: algorithm, Key: parse(b, "{credential.key}"), Claims: fields(b, "iss", "{credential.iss}", "aud", "x")})
		c := newCredential(b, map[string]any{"key": text, "iss": "me"})
		b.Run(algorithm, func(b *testing.B) {
			source, err := m.Bind(c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := source.Mint(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
