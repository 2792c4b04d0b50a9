package template

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestFilters(t *testing.T) {
	c := newCredential(t, `{"key": "Key +/ü", "hex": "00ffC0", "b64": "-_8=", "b64std": "+/8", "wrapped": "a2V\nu", "n": 12, "yes": true, "no": false,
		"null": null, "empty": "", "admin": "id:5ec:ret", "piped": "a|b", "url": "https://x.example/p", "list": ["zero", {"hex": "deep"}],
		"keys": [{"id": "a|hex", "v": "vx"}], "a": {"hex": "inner"}, "x": {"base64": "inner too"}}`)
	for text, want := range map[string]string{
		"{credential.key|base64}":                                   base64.StdEncoding.EncodeToString([]byte("Key +/ü")),
		"{credential.key|base64url}":                                base64.RawURLEncoding.EncodeToString([]byte("Key +/ü")),
		"{credential.key|hex}":                                      hex.EncodeToString([]byte("Key +/ü")),
		"{credential.key|urlencode}":                                "Key%20%2B%2F%C3%BC",
		"{credential.key|lower}{credential.key|upper}":              "key +/üKEY +/Ü",
		"{credential.hex|unhex}":                                    "\x00\xff\xc0",
		"{credential.b64|unbase64}":                                 "\xfb\xff",
		"{credential.b64std|unbase64}":                              "\xfb\xff",
		"{credential.wrapped|unbase64}":                             "ken",
		"{credential.hex|unhex|base64}":                             "AP/A",
		"{credential.n|hex}{credential.yes|upper}":                  "3132TRUE",
		"{credential.admin|before::}":                               "id",
		"{credential.admin|after::}":                                "5ec:ret",
		"{credential.admin|after::|after::|upper}":                  "RET",
		`{credential.piped|after:\|}`:                               "b",
		`{credential.admin|before:c\:}`:                             "id:5e",
		"{credential.missing|default:2025-05-05}":                   "2025-05-05",
		"{credential.null|default:a b}{credential.empty|default:c}": "a bc",
		"{credential.no|default:x}":                                 "false",
		"{credential.n|default:x}":                                  "12",
		"{credential.missing|upper|default:ab}":                     "ab",
		"{credential.missing|default:ab|upper}":                     "AB",
		`{credential.missing|default:\{\}\"\\\(\|}`:                 `{}"\(|`,
		"{credential.n|default:ab|hex}":                             "3132",
		"{credential.missing.below|default:x}":                      "x",
		"{credential.key.below|default:x}":                          "x",
		"{credential.url|@host}":                                    "x.example",
		"{credential.url|@host|upper}":                              "X.EXAMPLE",
		"{credential.list|0}":                                       "zero",
		"{credential.list|1.hex}":                                   "deep",
		"{credential.a.hex}":                                        "inner",
		"{credential.x|base64.x|default:y}":                         "y",
		`{credential.keys.#(id=="a|hex").v|hex}`:                    "7678",
		`{credential.list|@reverse|1}`:                              "zero",
		"a{credential.hex|lower}b{credential.n|default:x}c":         "a00ffc0b12c",
	} {
		if got, err := parse(t, text).Execute(c); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func wantFieldError(t *testing.T, text string, err error, path, reason string) {
	t.Helper()
	var field *credential.FieldError
	if !errors.As(err, &field) || field.Path != path || field.Reason != reason {
		t.Errorf("%s: got %v; want %s %s", text, err, path, reason)
	}
}

// It is what is sent that has to be fit to be sent.
func TestRulesHoldForWhatFiltersMake(t *testing.T) {
	c := newCredential(t, `{"lines": "a\nb", "hex": "0a", "slash": "a/b", "plain": "ab", "empty": "", "colon": "a:", "object": {}, "secret": "s3cret"}`)
	for text, rule := range map[string]Rule{"{credential.lines|base64}": Header, "{credential.slash|hex}": Unreserved, "x{credential.slash|base64url}": Unreserved} {
		if _, err := parse(t, text).ExecuteWith(c, rule); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]struct {
		rule         Rule
		path, reason string
	}{
		"{credential.hex|unhex}":            {Header, "hex", "has a control character in it"},
		"{credential.plain|urlencode}/":     {Unreserved, "", ""},
		"{credential.slash|urlencode}":      {Unreserved, "slash", "has a character in it that cannot stand in a URL"},
		"{credential.empty|hex}":            {Header, "empty", "is empty"},
		"{credential.colon|after::}":        {Header, "colon", "is empty"},
		"{credential.colon|after:secret}":   {Header, "colon", `has no "secret" in it`},
		"{credential.object|default:x}":     {Header, "object", "is not a string, number or boolean"},
		"{credential.missing|hex}":          {Header, "missing", "is missing"},
		"{credential.colon|before::|unhex}": {Header, "colon", "is not hexadecimal"},
		"{credential.secret|unhex}":         {Header, "secret", "is not hexadecimal"},
		"{credential.secret|unbase64}":      {Header, "secret", "is not UTF-8"},
		"{credential.lines|unbase64}!":      {NotEmpty, "", ""},
		"{credential.colon|unbase64}":       {NotEmpty, "colon", "is not base64"},
	} {
		_, err := parse(t, text).ExecuteWith(c, want.rule)
		if want.path == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		wantFieldError(t, text, err, want.path, want.reason)
	}
}

func TestDefaultHasToMeetTheRuleOfItsPlace(t *testing.T) {
	if err := parse(t, `{credential.a|default:b/c}`).CheckLiterals(Unreserved); err == nil || err.Error() != "default of a has a character in it that cannot stand in a URL" {
		t.Errorf("got %v", err)
	}
	if err := parse(t, `{credential.a|default:b/c|hex}`).CheckLiterals(Unreserved); err != nil {
		t.Errorf("got %v", err)
	}
	u, err := parse(t, "https://{credential.host|default:api.example.com}/v1").ExecuteURL(newCredential(t, `{}`))
	if err != nil || u.String() != "https://api.example.com/v1" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestParseRefusesFilters(t *testing.T) {
	for text, want := range map[string]string{
		"{credential.|hex}":                  "placeholder {credential.|hex} names no field",
		"{credential.hex|hex:x}":             "placeholder {credential.hex|hex:x}: filter hex takes nothing behind a colon",
		"{credential.a|default}":             "placeholder {credential.a|default}: filter default needs a text behind a colon, as in default:text",
		"{credential.a|before:}":             "placeholder {credential.a|before:}: filter before needs a text behind a colon, as in before:text",
		"{credential.a|default:x|default:y}": "placeholder {credential.a|default:x|default:y}: filter default is given twice",
		"{credential.a|default:xyz|unhex}":   "placeholder {credential.a|default:xyz|unhex}: filter unhex: the default is not hexadecimal",
		`{credential.a|default:"x"}`:         `placeholder {credential.a|default:"x"}: filter default: put \ before '"'`,
		`{credential.a|before:(}`:            `placeholder {credential.a|before:(}: filter before: put \ before '('`,
		"{env.X|hex}":                        "placeholder {env.X|hex}: filters are for fields of the credential",
		"{env.X|default:y}":                  "placeholder {env.X|default:y}: filters are for fields of the credential",
	} {
		if parsed, err := Parse(text, func(string) (string, error) { return "x", nil }); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, %v; want %s", text, parsed, err, want)
		}
	}
}

func TestPathsAreWithoutFilters(t *testing.T) {
	got := parse(t, "{credential.a|hex}{credential.b|@host|upper}{credential.a|default:x}{credential.c|0}").Paths()
	if strings.Join(got, " ") != "a b|@host c|0" {
		t.Errorf("got %q", got)
	}
}

func TestStringHasTheFilters(t *testing.T) {
	const text = `https://{credential.host|lower|default:api.example.com}/{credential.list|0}`
	if got := parse(t, text).String(); got != text {
		t.Errorf("got %s", got)
	}
}

func TestSchemaOfDefaults(t *testing.T) {
	const draft, scalar = `"$schema":"https://json-schema.org/draft/2020-12/schema",`, `["string","number","boolean"]`
	for text, want := range map[string]string{
		"{credential.a|hex}":                     `{` + draft + `"properties":{"a":{"type":` + scalar + `}},"required":["a"],"type":"object"}`,
		"{credential.a|default:x}":               `{` + draft + `"properties":{"a":{"type":["string","number","boolean","null"]}}}`,
		"{credential.a|default:x}{credential.a}": `{` + draft + `"properties":{"a":{"type":` + scalar + `}},"required":["a"],"type":"object"}`,
		"{credential.o.a|default:x}":             `{` + draft + `"properties":{"o":{"properties":{"a":{"type":["string","number","boolean","null"]}}}}}`,
		"{credential.a|@host|default:x}":         `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`,
	} {
		wantSchema(t, Schema(parse(t, text)), want)
	}
}

func TestExecuteJSON(t *testing.T) {
	c := newCredential(t, `{"s": "x\u00fc\"", "n": 12345678901234567890, "yes": true, "list": ["a", 1], "o": {"a": null}, "null": null, "empty": "",
		"_upstream_auth": {"status": "ready"}}`)
	for text, want := range map[string]string{
		"{credential.s}":              `"x\u00fc\""`,
		"{credential.n}":              `12345678901234567890`,
		"{credential.yes}":            `true`,
		"{credential.list}":           `["a", 1]`,
		"{credential.list.#}":         `2`,
		"{credential.o}":              `{"a": null}`,
		"{credential.n} ":             `"12345678901234567890 "`,
		"{credential.n|hex}":          `"3132333435363738393031323334353637383930"`,
		"{credential.no|default:5}":   `"5"`,
		"constant":                    `"constant"`,
		"{credential.@this.null}":     "null is null",
		"{credential.null}":           "null is null",
		"{credential.empty}":          "empty is empty",
		"{credential.gone}":           "gone is missing",
		"{credential._upstream_auth}": "_upstream_auth is missing",
		"a{credential.list}":          "list is not a string, number or boolean",
	} {
		got, err := parse(t, text).ExecuteJSON(c)
		if path, reason, wrong := strings.Cut(want, " is "); wrong {
			if strings.Contains(text, "@this") {
				path = "@this.null"
			}
			wantFieldError(t, text, err, path, "is "+reason)
		} else if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
	b := new(SchemaBuilder)
	b.RequireJSON(parse(t, "{credential.a}"), parse(t, "x{credential.b}"), parse(t, "{credential.c|default:x}"))
	wantSchema(t, b.Schema(), `{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"type":["string","number","boolean","array","object"]},`+
		`"b":{"type":["string","number","boolean"]},"c":{"type":["string","number","boolean","null"]}},"required":["a","b"],"type":"object"}`)
}

// FuzzFilters holds that filters undo each other, that a placeholder without a filter is
// what gjson makes of it, and that no error tells a value.
func FuzzFilters(f *testing.F) {
	f.Add("{credential.a|unhex|before:\\||default:x}", "6a7c")
	f.Add("{credential.a|base64|unbase64}", "x y")
	f.Add(`{credential.#(x=="|hex")|hex}`, "")
	f.Fuzz(func(t *testing.T, text, value string) {
		quoted := url.QueryEscape(value) // text that JSON holds as it is
		c := newCredential(t, `{"a": "secretprefix`+quoted+`"}`)
		for _, pair := range []string{"hex|unhex", "base64|unbase64", "base64url|unbase64"} {
			if got, err := parse(t, "{credential.a|"+pair+"}").Execute(c); err == nil && got != "secretprefix"+quoted {
				t.Fatalf("%s: %q became %q", pair, quoted, got)
			}
		}
		parsed, err := Parse(text, nil)
		if err != nil {
			return
		}
		if _, err := parsed.ExecuteWith(c, Header); err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("%q: %v is not ErrInvalid", text, err)
			}
			if strings.Contains(err.Error(), "secretprefix") && !strings.Contains(text, "secretprefix") {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
