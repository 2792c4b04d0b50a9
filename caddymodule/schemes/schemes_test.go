package schemes_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestSchemesAreRegistered(t *testing.T) {
	for name, want := range map[string]module{
		"header": new(schemes.Header), "query": new(schemes.Query), "cookie": new(schemes.Cookie),
		"basic": new(schemes.Basic), "base_path": new(schemes.BasePath), "oauth2": new(schemes.OAuth2), "jwt": new(schemes.JWT),
		"login": new(schemes.Login),
	} {
		one, two := registered(t, name), registered(t, name)
		if reflect.TypeOf(one) != reflect.TypeOf(want) || one == two {
			t.Errorf("%s is a %T", name, one)
		}
		if id := one.CaddyModule().ID; id != caddy.ModuleID(schemes.Namespace+"."+name) || id.Namespace() != "upstream_auth.schemes" {
			t.Errorf("%s calls itself %s", name, id)
		}
	}
	if n := len(caddy.GetModules(schemes.Namespace)); n != 8 {
		t.Errorf("%d schemes", n)
	}
}

func TestNamesAreWhatIsSet(t *testing.T) {
	for line, want := range map[string]scheme.Names{
		"header x-key {credential.x}":   {Header: []string{"x-key"}},
		"query key {credential.x}":      {Query: []string{"key"}},
		"cookie session {credential.x}": {Header: []string{"Cookie"}},
		"basic {credential.x} p":        {Header: []string{"Authorization"}},
		"base_path /{credential.x}":     {},
		"oauth2 {\n" + public + "}":     {},
		jwtLines(""):                    {Header: []string{"Authorization"}},
		jwtLines("to header x-token"):   {Header: []string{"x-token"}},
		jwtLines("to query jwt"):        {Query: []string{"jwt"}},
		"login {\nrequest https://login.example {\nform user {credential.x}\n}\n}": {},
	} {
		if got := read(t, line).Names(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v", line, got)
		}
	}
}

// Beside a path alone a token is still to be sent.
func TestBasePathSaysNotWhoMakesARequest(t *testing.T) {
	for _, line := range []string{"header A {credential.x}", "query a {credential.x}", "cookie a {credential.x}", "basic {credential.x} p", "base_path /{credential.x}"} {
		s := read(t, line)
		if _, companion := s.(scheme.Companion); companion != strings.HasPrefix(line, "base_path") {
			t.Errorf("%s: companion is %t", line, companion)
		}
	}
}

func TestCaddyfileErrorsNameTheirLine(t *testing.T) {
	const count = "wrong argument count or unexpected line ending"
	for text, want := range map[string]string{
		"header":                                            count,
		"header X-Key":                                      count,
		"header X-Key {credential.x} y":                     count,
		"header X-Key hunter2":                              "header X-Key: a secret is not written",
		"header X-Key {credential.}":                        "names no field",
		"query key":                                         count,
		`query "" {credential.x}`:                           "name of query parameter",
		"query key hunter2":                                 "query key: a secret is not written",
		"cookie session":                                    count,
		"cookie session {credential.x} y":                   count,
		`cookie "a b" {credential.x}`:                       "is not the name of a cookie",
		"cookie session hunter2":                            "cookie session: a secret is not written",
		`cookie session "a {env.X}"`:                        "cannot stand in a cookie",
		"basic {credential.x}":                              count,
		"basic a hunter2":                                   "basic: a secret is not written",
		"basic a:b {credential.x}":                          "has a colon",
		"base_path":                                         count,
		"base_path /a /b":                                   count,
		"base_path v1":                                      "base_path does not begin with a slash",
		"base_path /a?b":                                    "is not part of a path",
		"base_path /{http.request.uri}":                     "cannot be resolved here",
		"jwt x":                                             count,
		"jwt {\n}":                                          "algorithm is missing",
		"jwt {\nalgorithm HS256\n}":                         "key is missing",
		"jwt {\nalgorithm none\n}":                          `algorithm "none" is none of HS256, HS384,`,
		jwtLines("key {credential.a}"):                      "key is given twice",
		jwtLines("lifetime 1s"):                             "lifetime is below 10s",
		jwtLines("header alg none"):                         "header alg cannot be set",
		jwtLines("header kid"):                              count,
		jwtLines("claim iss"):                               count,
		jwtLines("claim a..b x"):                            "a part of its name is empty",
		jwtLines("claim iss {env.}"):                        "placeholder {env.} cannot be resolved here",
		jwtLines("claim iss {credential.a|default}"):        "filter default needs a text",
		jwtLines("to cookie a"):                             "'cookie' is neither header nor query",
		jwtLines("to header"):                               count,
		jwtLines(`to header A "Token {credential.x}{jwt}"`): "has to have {jwt} in it, once",
		jwtLines("to header A {jwt}{jwt}"):                  "has to have {jwt} in it, once",
		jwtLines("to header A x"):                           "has to have {jwt} in it, once",
		jwtLines("to header A {jwt}\nto query b"):           "to is given twice",
		jwtLines("reuse maybe"):                             "reuse 'maybe' is neither on nor off",
		jwtLines("kid x"):                                   "unrecognized subdirective 'kid' of jwt",
		"jwt {\nkey hunter2\n}":                             "key: a secret is not written into the configuration",
		"jwt {\nkey file /absent\n}":                        "file: open /absent: no such file",
		"jwt {\nkey vault_transit\n}":                       "a secret is not written into the configuration",
		"jwt {\nkey vault_transit a/../b\n}":                "vault_transit \"a/../b\" is not a path of letters",
		"jwt {\nkey vault_transit a b\n}":                   count,
		"jwt {\nkey vault_transit a\nkey {env.X}\n}":        "key is given twice",
		"jwt {\nalgorithm HS256\nkey vault_transit a\n}":    "algorithm HS256 takes a secret",
		"jwt {\nalgorithm RS256\nkey vault_transit {credential.a}\n}": "key vault_transit: placeholder {credential.a} cannot be resolved here",
		"jwt {\nalgorithm RS256\nkey file /{credential.a}\n}":         "key file: placeholder {credential.a} cannot be resolved here",
		"jwt {\nkey vault x\n}":                                       count,
		"oauth2 x":                                                    count,
		"oauth2 {\n}":                                                 "oauth2: token_url is missing",
		"oauth2 {\n" + public + "x y\n}":                              "unrecognized subdirective 'x' of oauth2",
	} {
		_, err := unmarshal(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes the value: %v", text, err)
		}
	}
}

// provision makes a scheme of a Caddyfile ready as Caddy does: by way of JSON.
func provision(t testing.TB, text string) module {
	t.Helper()
	adapted := read(t, text)
	conf, err := json.Marshal(adapted)
	if err != nil {
		t.Fatal(err)
	}
	m := registered(t, adapted.CaddyModule().ID.Name())
	if err := caddy.StrictUnmarshalJSON(conf, m); err != nil {
		t.Fatalf("%s: %v", conf, err)
	}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestProvisionFillsInTheEnvironment(t *testing.T) {
	t.Setenv("A", "hunter2")
	t.Setenv("QUOTED", `"hunter2"`)
	t.Setenv("BRACES", "{credential.x}") // not a template again
	t.Setenv("TWO_SEGMENTS", "v1/hunter2%2F")
	type sent struct{ uri, header, value string }
	for line, want := range map[string]sent{
		"header X-Key {env.A}":                         {"/a", "X-Key", "hunter2"},
		"header X-Key {credential.x}-{env.A}":          {"/a", "X-Key", "x-hunter2"},
		"header X-Key {env.BRACES}{credential.x}":      {"/a", "X-Key", "{credential.x}x"},
		"query key {env.A}":                            {"/a?key=hunter2", "", ""},
		"cookie key {env.A}{credential.x}":             {"/a", "Cookie", "key=hunter2x"},
		"cookie key {env.QUOTED}":                      {"/a", "Cookie", `key="hunter2"`},
		"basic {credential.x} {env.A}":                 {"/a", "Authorization", "Basic eDpodW50ZXIy"},
		"base_path /{env.TWO_SEGMENTS}/{credential.x}": {"/v1/hunter2%2F/x/a", "", ""},
	} {
		m := provision(t, line)
		req := newRequest(t, "https://api.example/a")
		if err := bind(t, m, `{"x": "x"}`).Authenticate(req, nil); err != nil {
			t.Fatal(err)
		}
		if got := (sent{req.URL.RequestURI(), want.header, req.Header.Get(want.header)}); got != want {
			t.Errorf("%s: sent %v, want %v", line, got, want)
		}
		for _, setting := range m.Sets() {
			if strings.Contains(setting.Value, "hunter2") {
				t.Errorf("%s: operators are shown %q", line, setting.Value)
			}
		}
	}
}

func TestProvisionRefusesWhatTheEnvironmentLacks(t *testing.T) {
	t.Setenv("EMPTY", "")
	for _, line := range []string{
		"header X-Key {env.EMPTY}", "query key {env.EMPTY}", "cookie key {env.EMPTY}",
		"basic {env.EMPTY} p", "basic {credential.x} {env.EMPTY}", "base_path /{env.EMPTY}",
	} {
		err := read(t, line).Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), "placeholder {env.EMPTY} has no value") {
			t.Errorf("%s: got %v", line, err)
		}
	}
}

func TestSetsTellsTemplatesAndNoValues(t *testing.T) {
	t.Setenv("KEY", "hunter2")
	for line, want := range map[string][]schemes.Setting{
		"header x-key {credential.x}{env.KEY}":   {{In: "header", Name: "X-Key", Value: "{credential.x}{env.KEY}"}},
		"query key {credential.x}{env.KEY}":      {{In: "query", Name: "key", Value: "{credential.x}{env.KEY}"}},
		"cookie sid {credential.x}{env.KEY}":     {{In: "cookie", Name: "sid", Value: "{credential.x}{env.KEY}"}},
		"basic {credential.x} {env.KEY}":         {{In: "header", Name: "Authorization", Value: "Basic base64({credential.x}:{env.KEY})"}},
		"base_path /v1/{credential.x}/{env.KEY}": {{In: "path", Name: "base_path", Value: "/v1/{credential.x}/{env.KEY}"}},
		"oauth2 {\n" + public + "}":              nil,
	} {
		for _, m := range []module{read(t, line), provision(t, line)} {
			if got := m.Sets(); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v", line, got)
			}
		}
	}
}

func TestSchemaHoldsWhatASchemeNeeds(t *testing.T) {
	t.Setenv("KEY", "hunter2")
	const scalar, draft = `{"type":["string","number","boolean"]}`, `"$schema":"https://json-schema.org/draft/2020-12/schema"`
	const x = `{` + draft + `,"properties":{"x":` + scalar + `},"required":["x"],"type":"object"}`
	for line, want := range map[string]string{
		"header X-Key {credential.x}":        x,
		"header X-Key {env.KEY}":             `{` + draft + `}`,
		"query q {credential.x}":             x,
		"cookie sid {credential.x}{env.KEY}": x,
		"basic {credential.x} p":             x,
		"basic u {credential.x}":             x,
		"basic {credential.x} {credential.account.id}": `{` + draft + `,"properties":{"account":{"properties":{"id":` + scalar +
			`},"required":["id"],"type":"object"},"x":` + scalar + `},"required":["account","x"],"type":"object"}`,
		"base_path /v1/{credential.x}": x,
		"base_path /v1":                `{` + draft + `}`,
		"oauth2 {\n" + public + "}": `{` + draft + `,"properties":{"access_token":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},` +
			`"refresh_token":{"type":["string","null"],"writeOnly":true}},"required":["access_token"],"type":"object"}`,
		"oauth2 {\n" + public + "credential_field access_token tokens.access\ncredential_field refresh_token tokens.refresh\n}": `{` + draft +
			`,"properties":{"tokens":{"properties":{"access":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},` +
			`"refresh":{"type":["string","null"],"writeOnly":true}},"required":["access"],"type":"object"}},"required":["tokens"],"type":"object"}`,
	} {
		for _, m := range []module{read(t, line), provision(t, line)} {
			got := m.Schema()
			if string(got) != want {
				t.Errorf("%s: got  %s\nwant %s", line, got, want)
			}
			if _, err := credential.CompileSchema(got); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// What fits the schema is no credential without a field, and tokens are not to be shown.
func TestSchemaRefusesWhatCannotBeBound(t *testing.T) {
	for line, documents := range map[string]map[string]bool{
		"cookie sid {credential.session.id}": {`{"session":{"id":"a"}}`: true, `{"session":{}}`: false, `{"session":{"id":null}}`: false, `{"session":"a"}`: false},
		"base_path /{credential.id}":         {`{"id":42}`: true, `{}`: false, `{"id":[42]}`: false},
		"oauth2 {\n" + public + "}":          {`{"access_token":"a"}`: true, `{"access_token":""}`: false, `{"access_token":"a","refresh_token":1}`: false, `{}`: false},
	} {
		schema, err := credential.CompileSchema(read(t, line).Schema())
		if err != nil {
			t.Fatal(err)
		}
		for document, fits := range documents {
			if err := schema.Check(newCredential(t, document)); fits != (err == nil) {
				t.Errorf("%s: %s: %v", line, document, err)
			}
		}
		tokens := strings.HasPrefix(line, "oauth2")
		if schema.WriteOnly("access_token") != tokens || schema.WriteOnly("refresh_token") != tokens {
			t.Errorf("%s: tokens can be shown", line)
		}
	}
}
