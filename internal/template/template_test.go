package template

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestExecute(t *testing.T) {
	const document = `{
		"token": "t0k", "n": 12345678901234567890, "f": 1.50, "yes": true, "no": false,
		"a.b": "dotted", "list": ["zero", {"deep": "one"}], "account": {"id": 42},
		"keys": [{"id": "x", "v": "vx"}, {"id": "}", "v": "brace"}],
		"_upstream_auth": {"status": "spending"}, "uni": "gr\u00fc\u00df"
	}`
	lookup := func(name string) (string, error) {
		if name == "env.REGION" {
			return "{credential.token}", nil // text, not to be parsed again
		}
		return "", errors.New("unknown")
	}
	for text, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"stray } brace":                        "stray } brace",
		"{credential.token}":                   "t0k",
		"Bearer {credential.token}":            "Bearer t0k",
		"{credential.token}{credential.token}": "t0kt0k",
		"a{credential.token}b{credential.n}c":  "at0kb12345678901234567890c",
		"{credential.f}":                       "1.50",
		"{credential.yes}/{credential.no}":     "true/false",
		`{credential.a\.b}`:                    "dotted",
		"{credential.list.0}":                  "zero",
		"{credential.list.1.deep}":             "one",
		"{credential.account.id}":              "42",
		"{credential.list.#}":                  "2",
		`{credential.keys.#(id=="x").v}`:       "vx",
		`{credential.keys.#(id=="}").v}!`:      "brace!",
		"{credential.uni}":                     "grüß",
		"{env.REGION}":                         "{credential.token}",
		"x-{env.REGION}-{credential.token}":    "x-{credential.token}-t0k",
		"{credential.a*}":                      "dotted",
		"1{credential.token}2{credential.n}3{credential.f}4{credential.yes}5": "1t0k2123456789012345678903" + "1.504true5",
	} {
		t.Run(text, func(t *testing.T) {
			parsed, err := Parse(text, lookup)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Execute(newCredential(t, document))
			if err != nil || got != want {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestExecuteNamesTheFieldItCannotUse(t *testing.T) {
	c := newCredential(t, `{"null": null, "object": {}, "list": [], "empty": "", "long": "`+strings.Repeat("secret", 4096)+`",
		"_upstream_auth": {"status": "ready"}}`)
	for path, reason := range map[string]string{
		"missing":                "is missing",
		"null":                   "is null",
		"object":                 "is not a string, number or boolean",
		"list":                   "is not a string, number or boolean",
		"empty":                  "is empty",
		"long":                   "makes a value longer than 16384 bytes",
		"_upstream_auth.status":  "is missing",
		`\_upstream_auth.status`: "is missing",
		"_upstream*.status":      "is missing",
		`@this._upstream_auth`:   "is missing",
	} {
		for _, text := range []string{"{credential." + path + "}", "x {credential." + path + "}"} {
			got, err := parse(t, text).Execute(c)
			var field *credential.FieldError
			if !errors.As(err, &field) || field.Path != path || field.Reason != reason || got != "" {
				t.Errorf("%s: got %.40q, %v; want field %q %s", text, got, err, path, reason)
			}
			if !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("%s: %v is not ErrInvalid", text, err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: error quotes the value", text)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{":                       "unclosed placeholder",
		"a{credential.x":          "unclosed placeholder",
		`{credential.x\}`:         "unclosed placeholder",
		`{credential.#(a=="}).x}`: "unclosed placeholder",
		"{}":                      "empty placeholder {}",
		"{credential.}":           "placeholder {credential.} names no field",
		"{env.X}":                 "unknown placeholder {env.X}",
		"{credential}":            "unknown placeholder {credential}",
		"{Credential.x}":          "unknown placeholder {Credential.x}",
		"{{credential.x}}":        "placeholder inside a placeholder",
		"{credential.{a,b}}":      "placeholder inside a placeholder",
	} {
		if parsed, err := Parse(text, nil); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, %v; want %s", text, parsed, err, want)
		}
	}
	unset := errors.New("not set")
	_, err := Parse("{env.X}", func(string) (string, error) { return "", unset })
	if !errors.Is(err, unset) || !strings.Contains(err.Error(), "{env.X}") {
		t.Errorf("got %v, want the error of lookup and the name", err)
	}
}

func TestPaths(t *testing.T) {
	parsed := parse(t, "{credential.b} {credential.a.0} {credential.b}")
	if got := parsed.Paths(); !slices.Equal(got, []string{"b", "a.0"}) || !parsed.UsesCredential() {
		t.Errorf("got %q, %v", got, parsed.UsesCredential())
	}
	if parsed := parse(t, "text"); parsed.UsesCredential() || len(parsed.Paths()) != 0 {
		t.Errorf("literal text has paths %q", parsed.Paths())
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "x", "{credential.a}", "Bearer {credential.a.0.b} x", "{env.A}", "}{", "{{", `{credential.a\}b}`,
		`{credential.#(a=="}").b}`, `{credential.@this|_upstream_auth}`, `{credential.{a,"_upstream_auth"}}`, "{credential.!\"x\"}",
	} {
		f.Add(text)
	}
	const canary = "reservedvalue"
	c := newCredential(f, `{"a": ["x", {"b": "c"}], "_upstream_auth": {"nonce": "`+canary+`"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := Parse(text, func(string) (string, error) { return "looked-up", nil })
		if err != nil {
			return
		}
		value, err := parsed.Execute(c)
		if err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", text, err)
			}
			return
		}
		if strings.Contains(value, canary) && !strings.Contains(text, canary) {
			t.Fatalf("%q reaches the reserved field", text)
		}
		if !strings.Contains(text, "{") && value != text {
			t.Fatalf("literal %q became %q", text, value)
		}
	})
}
