package form_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
)

func schema(t testing.TB, text string) *credential.Schema {
	t.Helper()
	s, err := credential.CompileSchema([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// made makes a form of the provider's own schema and one of a scheme's.
func made(t testing.TB, own, scheme string, change func(*form.Source)) (*form.Form, error) {
	t.Helper()
	var s form.Source
	if own != "" {
		s.Own = schema(t, own)
		s.Schemas = append(s.Schemas, s.Own)
	}
	if scheme != "" {
		s.Schemas = append(s.Schemas, schema(t, scheme))
	}
	if change != nil {
		change(&s)
	}
	return form.New(s)
}

// outline writes fields in a line each.
func outline(fields []form.Field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%s %s %q", f.Path, f.Kind, f.Label)
		if f.Required {
			b.WriteString(" required")
		}
		if f.Secret {
			b.WriteString(" secret")
		}
		if f.Hint != "" {
			b.WriteString(" hint=" + f.Hint)
		}
		if f.Default != "" {
			b.WriteString(" default=" + f.Default)
		}
		for _, o := range f.Options {
			b.WriteString(" " + o.Value + "=" + o.Label)
		}
		b.WriteString("\n" + outline(f.Fields))
	}
	return b.String()
}

// What a schema says becomes a form, in the schema's order; what only schemes need is asked
// for as a password.
func TestSchemaBecomesFields(t *testing.T) {
	for name, c := range map[string]struct {
		own, scheme, want string
		change            func(*form.Source)
	}{
		"titles, descriptions, secrets": {
			own: `{"required":["key","zone"],"properties":{
				"zone":{"type":"string","title":"Zone","description":"As in your address"},
				"key":{"type":"string","title":"API key","writeOnly":true},
				"pin":{"type":"string","format":"password"},
				"mail":{"type":"string","format":"email"},"site":{"type":"string","format":"uri"},
				"pem":{"type":"string","contentMediaType":"application/x-pem-file","writeOnly":true}}}`,
			want: "zone text \"Zone\" required hint=As in your address\nkey text \"API key\" required secret\npin text \"pin\" secret\n" +
				"mail email \"mail\"\nsite url \"site\"\npem lines \"pem\" secret\n",
		},
		"numbers and choices": {
			own: `{"properties":{"n":{"type":"integer","default":5},"x":{"type":["number","null"]},"b":{"type":"boolean"},
				"region":{"enum":["eu","us",null],"default":"eu"},"v":{"const":2}}}`,
			want: "n number \"n\" default=5\nx number \"x\"\nb choice \"b\" true=Yes false=No\nregion choice \"region\" default=eu eu=eu us=us\nv choice \"v\" 2=2\n",
		},
		"groups": {
			own: `{"required":["a"],"properties":{"a":{"title":"A","required":["x"],"properties":{"x":{"type":"string"},"y":{"type":"string"}}},
				"b":{"type":"object","required":["z"],"properties":{"z":{"type":"string"}}}}}`,
			want: "a group \"A\" required\na.x text \"x\" required\na.y text \"y\"\nb group \"b\"\nb.z text \"z\"\n",
		},
		"references": {
			own: `{"$defs":{"k/1":{"type":"string","title":"Key"}},"definitions":{"o":{"properties":{"b":{"type":"string"}}}},
				"allOf":[{"$ref":"#/definitions/o"},{"required":["a"]}],"properties":{"a":{"$ref":"#/$defs/k~11","description":"yours"}}}`,
			want: "a text \"Key\" required hint=yours\nb text \"b\"\n",
		},
		"a list of references": {
			own:  `{"allOf":[{"properties":{"a":{"type":"string"}}}],"properties":{"b":{"$ref":"#/allOf/0/properties/a"}}}`,
			want: "b text \"b\"\na text \"a\"\n",
		},
		"what schemes need": {
			scheme: `{"required":["k","account"],"properties":{"k":{"type":["string","number","boolean"]},"account":{"type":["string","number","boolean"]}}}`,
			change: func(s *form.Source) { s.Exposed = []string{"account"} },
			want:   "k text \"k\" required secret\naccount text \"account\" required\n",
		},
		"what schemes need besides": {
			own:    `{"properties":{"k":{"type":"integer","title":"Number"}}}`,
			scheme: `{"required":["k","other"],"properties":{"k":{"type":["string","number","boolean"]},"other":{"type":["string","number","boolean"]}}}`,
			want:   "k number \"Number\" required\nother text \"other\" required secret\n",
		},
		"what comes with a token": {
			own:    `{"required":["id","access_token"],"properties":{"access_token":{"type":"array"},"id":{"type":"string"},"t":{"properties":{"x":{"type":"string"}}}}}`,
			change: func(s *form.Source) { s.Obtained = []string{"access_token", "t.x"} },
			want:   "id text \"id\" required\n",
		},
		"either of two": {
			own:  `{"properties":{"a":{"type":"string"},"b":{"type":"string"}},"anyOf":[{"required":["a"]},{"required":["b"],"properties":{"b":{"minLength":3}}}]}`,
			want: "a text \"a\"\nb text \"b\"\n",
		},
		"text or null":          {own: `{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}]}}}`, want: "a text \"a\"\n"},
		"required and no more":  {own: `{"required":["workspace"]}`, want: "workspace text \"workspace\" required secret\n"},
		"default of a secret":   {own: `{"properties":{"a":{"type":"string","writeOnly":true,"default":"x"}}}`, want: "a text \"a\" secret\n"},
		"property of any value": {own: `{"properties":{"a":true}}`, want: "a text \"a\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := made(t, c.own, c.scheme, c.change)
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(f.Fields); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestWhatNoFormCanShow(t *testing.T) {
	many := `{"properties":{"a0":{}`
	for i := range 64 {
		many += fmt.Sprintf(`,"b%d":{}`, i)
	}
	for own, want := range map[string]string{
		`{}`:                                     "nothing to ask for",
		`{"type":"array"}`:                       `the schema: it has properties, and is no object`,
		`{"properties":{"a":{"type":"array"}}}`:  `"a": it is an array`,
		`{"properties":{"a":{"type":"object"}}}`: `"a": it is an array, or an object of which`,
		`{"properties":{"a":{"type":"null"}}}`:   `"a": no type is left`,
		`{"properties":{"a":false}}`:             `"a": it is never valid`,
		`{"properties":{"a":{"allOf":[{"type":"string"},{"type":"integer"}]}}}`:                        `"a": no type is left`,
		`{"properties":{"a b":{"type":"string"}}}`:                                                     `"a b": a name in a form`,
		`{"properties":{"a.b":{"type":"string"}}}`:                                                     `"a.b": a name in a form`,
		`{"properties":{"_upstream_auth":{"type":"string"}}}`:                                          `"_upstream_auth": it is reserved`,
		`{"properties":{"a":{"enum":[["x"]]}}}`:                                                        `"a": enum or const with an array`,
		`{"properties":{"a":{"enum":[1,"1"]}}}`:                                                        `"a": enum with two values that read "1"`,
		`{"properties":{"a":{"$ref":"#x"}},"$defs":{"x":{"$anchor":"x"}}}`:                             `"a": $ref "#x"`,
		`{"properties":{"a":{"properties":{"b":{"$ref":"#/properties/a"}}}}}`:                          `deeper than 4 objects`,
		`{"properties":{"a":{}},"oneOf":[{"properties":{"b":{}}}]}`:                                    `the schema: oneOf with properties`,
		`{"properties":{"a":{}},"if":{"required":["a"]},"then":{"$ref":"#/$defs/x"},"$defs":{"x":{}}}`: `the schema: then with properties`,
		`{"properties":{"a":{}},"patternProperties":{"^x":{}}}`:                                        `the schema: patternProperties`,
		`{"properties":{"a":{"anyOf":[{"type":"integer"},{"type":"null"}]}}}`:                          `"a": anyOf without a branch for text`,
		`{"properties":{"a":{"$dynamicRef":"#/$defs/x"}},"$defs":{"x":{}}}`:                            `"a": $dynamicRef`,
		many + `}}`: "there are more than 64 fields",
	} {
		if _, err := made(t, own, "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", own, err, want)
		}
	}
	if _, err := made(t, `{"$ref":"#"}`, "", nil); err == nil {
		t.Error("a reference to itself is no error")
	}
	if _, err := made(t, `{"properties":{"a":{}}}`, "", func(s *form.Source) { s.Obtained = []string{"a"} }); !errors.Is(err, form.ErrEmpty) {
		t.Errorf("all is obtained: %v", err)
	}
}

const everything = `{"required":["key"],"properties":{"key":{"type":"string","writeOnly":true},"n":{"type":"integer"},"on":{"type":"boolean"},
	"region":{"enum":["eu",7]},"pem":{"type":"string","contentMediaType":"application/x-pem-file"},
	"login":{"properties":{"user":{"type":"string"},"password":{"type":"string","format":"password"}}}}}`

func TestWhatIsFilledInBecomesADocument(t *testing.T) {
	f, err := made(t, everything, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		values map[string]string
		want   string
	}{
		"all":             {map[string]string{"key": " k\"<é> \n", "n": "-5", "on": "false", "region": "7", "login.user": "u", "login.password": " p "}, `{"key":"k\"\u003cé\u003e","login":{"password":" p ","user":"u"},"n":-5,"on":false,"region":7}`},
		"nothing":         {map[string]string{"key": "k", "n": "", "on": "", "region": " ", "login.user": "", "login.password": ""}, `{"key":"k"}`},
		"lines":           {map[string]string{"key": "k", "pem": "a\r\nb\r\n"}, `{"key":"k","pem":"a\nb"}`},
		"digits in text":  {map[string]string{"key": "0012"}, `{"key":"0012"}`},
		"a large number":  {map[string]string{"key": "k", "n": "12345678901234567890"}, `{"key":"k","n":12345678901234567890}`},
		"JSON in a text":  {map[string]string{"key": `{"a":1}`}, `{"key":"{\"a\":1}"}`},
		"paths in a text": {map[string]string{"key": "k", "login.user": "_upstream_auth.status"}, `{"key":"k","login":{"user":"_upstream_auth.status"}}`},
	} {
		values := url.Values{}
		for path, text := range c.values {
			values.Set(path, text)
		}
		document, problems, err := f.Read(values)
		if err != nil || len(problems) > 0 || string(document) != c.want {
			t.Errorf("%s: %s, %v, %v", name, document, problems, err)
		}
	}
}

func TestFieldsThatAreFilledInWrong(t *testing.T) {
	f, err := made(t, everything, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, problems, err := f.Read(url.Values{"key": {" "}, "n": {"canary"}, "region": {"mars"}, "on": {"yes"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, strings.Join(p.Location, ".")+" "+p.Rule)
		if !errors.Is(p, credential.ErrInvalid) || strings.Contains(p.Error(), "canary") {
			t.Errorf("problem %v", p)
		}
	}
	if want := "key required, n type, on enum, region enum"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, number := range []string{"5,0", "0x10", "1 2", "1_000", "NaN", "007", "--1", "[1]", "true", "null", `"1"`} {
		if _, problems, _ := f.Read(url.Values{"key": {"k"}, "n": {number}}); len(problems) != 1 || problems[0].Rule != "type" {
			t.Errorf("%s: %v", number, problems)
		}
	}
}

// A form has what its page has, and nothing else gets into the document.
func TestFieldsThatNobodyAskedFor(t *testing.T) {
	f, err := made(t, everything, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"_upstream_auth", "_upstream_auth.disabled", "other", "login", "login.other", "", "key.x", "KEY"} {
		if document, _, err := f.Read(url.Values{"key": {"k"}, path: {"x"}}); !errors.Is(err, form.ErrUnknown) {
			t.Errorf("%q: %s, %v", path, document, err)
		}
	}
	for name, values := range map[string]url.Values{"twice": {"key": {"a", "b"}}, "none": {"key": {}}, "no text": {"key": {"\xff"}}} {
		if document, _, err := f.Read(values); !errors.Is(err, form.ErrUnknown) {
			t.Errorf("%s: %s, %v", name, document, err)
		}
	}
}

// Whatever a schema says, making its form ends, and what is read with it is one object
// without the reserved field.
func FuzzForm(f *testing.F) {
	f.Add(everything, "key", "x")
	f.Add(`{"allOf":[{"$ref":"#"}]}`, "a", "1")
	f.Add(`{"properties":{"a":{"$ref":"#/properties/a"}}}`, "a", "1")
	f.Fuzz(func(t *testing.T, text, path, value string) {
		s, err := credential.CompileSchema([]byte(text))
		if err != nil {
			return
		}
		made, err := form.New(form.Source{Own: s, Schemas: []*credential.Schema{s}})
		if err != nil {
			return
		}
		document, problems, err := made.Read(url.Values{path: {value}})
		if err != nil || len(problems) > 0 {
			return
		}
		if err := credential.CheckInput(document); err != nil && !strings.Contains(err.Error(), "digits") {
			t.Errorf("%s: %v", document, err)
		}
	})
}
