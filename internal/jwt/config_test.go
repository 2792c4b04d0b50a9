package jwt

import (
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func TestNewRefuses(t *testing.T) {
	key := parse(t, "{credential.key}")
	for want, c := range map[string]Config{
		"algorithm is missing":                    {Key: key},
		`algorithm "none" is none of HS256, `:     {Algorithm: "none", Key: key},
		`algorithm "hs256" is none of`:            {Algorithm: "hs256", Key: key},
		"key is missing":                          {Algorithm: "HS256"},
		"there is more than one key":              {Algorithm: "HS256", Key: key, KeyFile: "x"},
		"algorithm HS256 takes a secret":          {Algorithm: "HS256", Signer: new(kept)},
		"lifetime is below 10s":                   {Algorithm: "HS256", Key: key, Lifetime: time.Second},
		"header alg cannot be set":                {Algorithm: "HS256", Key: key, Header: fields(t, "alg", "none")},
		"header crit cannot be set":               {Algorithm: "HS256", Key: key, Header: fields(t, "crit", "x")},
		"header kid is given twice":               {Algorithm: "HS256", Key: key, Header: fields(t, "kid", "x", "kid", "y")},
		"a header has no name":                    {Algorithm: "HS256", Key: key, Header: fields(t, "", "x")},
		"header kid: text of the template is not": {Algorithm: "HS256", Key: key, Header: fields(t, "kid", "\xff")},
		"claim iss: text of the template is not":  {Algorithm: "HS256", Key: key, Claims: fields(t, "iss", "\xff")},
		"a claim has no name":                     {Algorithm: "HS256", Key: key, Claims: fields(t, "", "x")},
		"or a part of its name is empty":          {Algorithm: "HS256", Key: key, Claims: fields(t, "a..b", "x")},
		"claim a is both a value and an object":   {Algorithm: "HS256", Key: key, Claims: fields(t, "a.b", "x", "a", "y")},
		"claim a.b is both a value and an object": {Algorithm: "HS256", Key: key, Claims: fields(t, "a", "x", "a.b", "y")},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestKeyOfTheConfigurationIsChecked(t *testing.T) {
	for algorithm, wrong := range map[string]string{"ES256": "", "ES384": "key is not a key for ES384"} {
		parsed, err := template.Parse("{env.KEY}", func(string) (string, error) { return pkcs8(p256()), nil })
		if err != nil {
			t.Fatal(err)
		}
		m := newMinter(t, Config{Algorithm: algorithm, Key: parsed})
		if err := m.CheckKey(); (err == nil) != (wrong == "") || err != nil && err.Error() != wrong {
			t.Errorf("%s: got %v", algorithm, err)
		}
		if wrong == "" && !verifies(mint(t, m, newCredential(t, nil)), p256().Public()) {
			t.Error("the JWT is not of the configuration's key")
		}
	}
	if err := newMinter(t, Config{Algorithm: "ES256", Key: parse(t, "{credential.key}")}).CheckKey(); err != nil {
		t.Error(err)
	}
}
