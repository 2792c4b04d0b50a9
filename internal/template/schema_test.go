package template

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestSchema(t *testing.T) {
	const scalar, draft = `{"type":["string","number","boolean"]}`, `"$schema":"https://json-schema.org/draft/2020-12/schema",`
	for name, test := range map[string]struct {
		templates []string
		want      string
	}{
		"several templates": {
			[]string{"k {credential.api-key}", "{credential.account.id}-{credential.account.name_2}", "{credential.account.id}", "fixed"},
			`{` + draft + `"properties":{"account":{"properties":{"id":` + scalar + `,"name_2":` + scalar + `},"required":["id","name_2"],"type":"object"},
				"api-key":` + scalar + `},"required":["account","api-key"],"type":"object"}`,
		},
		"nothing of the credential": {
			[]string{"fixed"}, `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`,
		},
		"paths that are not plain": {
			[]string{`{credential.keys.0.value}{credential.a\.b}{credential.list.#(x=="y").z}{credential.a|b}{credential.@this.x}{credential.a..b}{credential.k*}{credential.é}{credential.0.x}`},
			`{` + draft + `"properties":{"0":{"properties":{"x":` + scalar + `},"required":["x"],"type":"object"}},"required":["0"],"type":"object"}`,
		},
		"both an object and a value": {
			[]string{`{credential.a}{credential.a.b}`},
			`{` + draft + `"properties":{"a":{"not":{},"properties":{"b":` + scalar + `}}},"required":["a"],"type":"object"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var templates []*Template
			for _, text := range test.templates {
				templates = append(templates, parse(t, text))
			}
			wantSchema(t, Schema(templates...), test.want)
		})
	}
}

func TestSchemaOfTokens(t *testing.T) {
	const draft = `"$schema":"https://json-schema.org/draft/2020-12/schema",`
	b := new(SchemaBuilder)
	b.Token("tokens.access", true)
	b.Token("refresh_token", false)
	b.Token(`a\.b`, true) // not plain
	wantSchema(t, b.Schema(), `{`+draft+`"properties":{"refresh_token":{"type":["string","null"],"writeOnly":true},
		"tokens":{"properties":{"access":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true}},"required":["access"],"type":"object"}},
		"required":["tokens"],"type":"object"}`)

	// With a template of what is else optional.
	b = new(SchemaBuilder)
	b.Require(parse(t, "{credential.token_type} {credential.refresh_token}"))
	b.Token("access_token", true)
	b.Token("refresh_token", false)
	wantSchema(t, b.Schema(), `{`+draft+`"properties":{"access_token":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},
		"refresh_token":{"minLength":1,"type":"string","writeOnly":true},"token_type":{"type":["string","number","boolean"]}},
		"required":["access_token","refresh_token","token_type"],"type":"object"}`)
}

// wantSchema takes want without its line breaks.
func wantSchema(t *testing.T, got json.RawMessage, want string) {
	t.Helper()
	var line strings.Builder
	for l := range strings.Lines(want) {
		line.WriteString(strings.TrimSpace(l))
	}
	if string(got) != line.String() {
		t.Errorf("got  %s\nwant %s", got, line.String())
	}
	if _, err := credential.CompileSchema(got); err != nil {
		t.Error(err)
	}
}

// TestSchemaAgreesWithExecute holds, with random templates and documents, that what
// can be used fits the schema, and that no field at a plain path is missing from what
// fits.
func TestSchemaAgreesWithExecute(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	paths := []string{"a", "b", "sub.a", "sub.b", "sub.deep.er", "k-1", "tokens.access", `x\.y`, "list.0.a", "list.#.b", "access_token", "scope"}
	values := []string{``, ``, `null`, `""`, `"s"`, `"ü"`, `12`, `1e999`, `true`, `{}`, `[]`, `{"a":1}`, `[{"a":"x","b":null}]`}
	text := func() *Template {
		var b strings.Builder
		for range 1 + dice.IntN(3) {
			b.WriteString("x{credential." + paths[dice.IntN(len(paths))] + "}")
		}
		return parse(t, b.String())
	}
	accepted, refused := 0, 0
	for range 100 {
		templates := []*Template{text()}
		if dice.IntN(2) == 0 {
			templates = append(templates, text(), text())
		}
		schema := Schema(templates...)
		compiled, err := credential.CompileSchema(schema)
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		for range 50 {
			document := []byte(`{}`)
			for _, i := range dice.Perm(len(paths)) {
				value := values[dice.IntN(len(values))]
				if value == "" || strings.Contains(paths[i], "#") {
					value = `"present"`
				}
				if dice.IntN(12) > 0 {
					if changed, err := sjson.SetRawBytes(document, paths[i], []byte(value)); err == nil && json.Valid(changed) {
						document = changed
					}
				}
			}
			c := newCredential(t, string(document))
			schemaErr := compiled.Check(c)
			useErr := use(templates, c)
			if useErr == nil && schemaErr != nil {
				t.Fatalf("%s can be used, but does not fit %s: %v", document, schema, schemaErr)
			}
			if field, ok := errors.AsType[*credential.FieldError](useErr); ok && schemaErr == nil {
				_, plain := plainKeys(field.Path)
				if plain && slices.Contains([]string{"is missing", "is null", "is not a string, number or boolean"}, field.Reason) {
					t.Fatalf("%s fits %s, but: %v", document, schema, useErr)
				}
			}
			if schemaErr == nil {
				accepted++
			} else {
				refused++
			}
		}
	}
	if accepted < 200 || refused < 200 {
		t.Errorf("%d accepted, %d refused: the dice are loaded", accepted, refused)
	}
}

// use fills in all templates.
func use(templates []*Template, c *credential.Credential) error {
	for _, t := range templates {
		if _, err := t.ExecuteWith(c, Text); err != nil {
			return err
		}
	}
	return nil
}

func FuzzSchema(f *testing.F) {
	f.Add("{credential.a}", `{"a":1}`)
	f.Add("{credential.a.b}{credential.a}", `{"a":{"b":{"c":"x"}}}`)
	f.Add("{credential.0}x{credential.1.2}{credential._-}", `{"0":false,"1":[1,2,3],"_-":""}`)
	f.Fuzz(func(t *testing.T, text, document string) {
		parsed, err := Parse(text, nil)
		if err != nil {
			return
		}
		schema := Schema(parsed)
		compiled, err := credential.CompileSchema(schema)
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		c, err := credential.New(credential.Document{Data: []byte(document)})
		if err != nil || use([]*Template{parsed}, c) != nil {
			return
		}
		err = compiled.Check(c)
		broken, _ := errors.AsType[*credential.SchemaError](err)
		if err != nil && broken.Rule != "uniqueKeys" {
			t.Fatalf("%s can be used, but does not fit %s: %v", document, schema, err)
		}
	})
}
