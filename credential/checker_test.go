package credential_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// soon fails the test if check takes longer than any check may.
func soon(t *testing.T, check func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- check() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the check does not end")
		return nil
	}
}

// nested is a document of that many levels below key.
func nested(key string, levels int) string {
	return strings.Repeat(`{"`+key+`":`, levels) + "{}" + strings.Repeat("}", levels)
}

// doubling are schemas that ask twice about each level of a document, in a way of
// their own.
var doubling = map[string]string{
	"anyOf": `{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[
		{"properties":{"x":{"$ref":"#/$defs/a"}},"required":["y"]},{"properties":{"x":{"$ref":"#/$defs/a"}},"required":["z"]}]}}}`,
	"not": `{"properties":{"x":{"not":{"$ref":"#"}}},"patternProperties":{"x":{"not":{"not":{"$ref":"#"}}}},"additionalProperties":false}`,
	"if":  `{"if":{"properties":{"x":{"$ref":"#"}}},"then":{"properties":{"x":{"$ref":"#"}}}}`,
	"draft 4": `{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"x":{"$ref":"#"}},
		"allOf":[{"properties":{"x":{"$ref":"#"}}}],"additionalProperties":{"$ref":"#"}}`,
	"draft 7": `{"$schema":"http://json-schema.org/draft-07/schema#","oneOf":[
		{"properties":{"x":{"$ref":"#"}},"required":["y"]},{"properties":{"x":{"$ref":"#"}}}]}`,
	"$recursiveRef": `{"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveAnchor":true,
		"properties":{"x":{"$recursiveRef":"#"}},"allOf":[{"properties":{"x":{"$recursiveRef":"#"}}}]}`,
	"a dynamic anchor of its own": `{"$id":"https://x.example/root","$ref":"list","$defs":{
		"elsewhere":{"$dynamicAnchor":"T","properties":{"x":{"$dynamicRef":"#T"}},"allOf":[{"properties":{"x":{"$dynamicRef":"#T"}}}]},
		"list":{"$id":"list","properties":{"x":{"$dynamicRef":"#T"}},"$defs":{"default":{"$dynamicAnchor":"T"}}}}}`,
	"dependentSchemas": `{"dependentSchemas":{"x":{"properties":{"x":{"$ref":"#"}}}},"properties":{"x":{"$ref":"#"}}}`,
	"unevaluated":      `{"allOf":[{"unevaluatedProperties":{"$ref":"#"}}],"unevaluatedProperties":{"$ref":"#"},"if":{"unevaluatedProperties":{"$ref":"#"}}}`,
}

func TestSchemasThatDoubleTheWorkWithEachLevel(t *testing.T) {
	for name, text := range doubling {
		t.Run(name, func(t *testing.T) {
			compiled := compile(t, text)
			shallow := soon(t, func() error { return compiled.Check(newCredential(t, nested("x", 3))) })
			if broken, ok := errors.AsType[*credential.SchemaError](shallow); ok && broken.Rule == "size" {
				t.Errorf("three levels are too much: %v", shallow)
			}
			deep := soon(t, func() error { return compiled.Check(newCredential(t, nested("x", 62))) })
			if broken, ok := errors.AsType[*credential.SchemaError](deep); !ok || broken.Rule != "size" {
				t.Errorf("62 levels: got %v", deep)
			}
			if again := compiled.Check(newCredential(t, nested("x", 3))); fmt.Sprint(again) != fmt.Sprint(shallow) {
				t.Errorf("three levels after 62: got %v, was %v", again, shallow)
			}
		})
	}
}

func TestSchemaThatRefersToItselfAtOnce(t *testing.T) {
	for _, text := range []string{`{"$ref":"#"}`, `{"allOf":[{"$ref":"#"}]}`, `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"$ref":"#/$defs/a"}]}}}`} {
		compiled := compile(t, text)
		if err := soon(t, func() error { return compiled.Check(newCredential(t, `{"a":1}`)) }); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestDocumentsThatAreCostlyToCheck(t *testing.T) {
	fill := func(item string) string {
		n := (credential.MaxSize - 20) / (len(item) + 1)
		return `{"a":[` + strings.Repeat(item+",", n-1) + item + `]}`
	}
	// Arrays that differ and that a careless hash takes for the same.
	var alike strings.Builder
	for n := range 12_000 {
		var item strings.Builder
		for bit := range 14 {
			item.WriteString([]string{"x\\u0004", `x","`}[n>>bit&1])
		}
		if alike.Len()+item.Len() > credential.MaxSize-100 {
			break
		}
		fmt.Fprintf(&alike, `["%s"],`, item.String())
	}
	numbers := `{"properties":{"a":{"uniqueItems":true,"items":{"type":"integer","minimum":-1,"exclusiveMaximum":7,"multipleOf":3,"enum":[1,2,3]}}}}`
	for name, test := range map[string]struct{ schema, document string }{
		"numbers of a million digits": {numbers, fill("1e999999")},
		"numbers out of range":        {numbers, fill("1e99999999")},
		"numbers next to nothing":     {numbers, fill("-1e-99999999")},
		"a number that fills it":      {numbers, fill(strings.Repeat("7", credential.MaxSize-30))},
		"many patterns": {
			`{"properties":{"a":{"items":{"allOf":[{"pattern":"(a|aa)+$"},{"pattern":"^(a+)+$"},{"pattern":"(.*a){20}"}]}}}}`,
			fill(`"` + strings.Repeat("a", 1000) + `b"`),
		},
		"one long string": {`{"properties":{"a":{"items":{"pattern":"^(a+)+$","format":"regex"}}}}`, fill(`"` + strings.Repeat("a", credential.MaxSize-100) + `b"`)},
		"alike":           {`{"properties":{"a":{"uniqueItems":true}}}`, `{"a":[` + alike.String() + `1]}`},
		"many and wrong":  {`{"additionalProperties":{"items":{"type":"string"}}}`, fill("1")},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile(t, test.schema)
			cred := newCredential(t, test.document)
			if err := soon(t, func() error { return compiled.Check(cred) }); !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNumbersOutOfRangeKeepTheirMeaning(t *testing.T) {
	for text, documents := range map[string]map[string]bool{
		`{"properties":{"n":{"type":"number"}}}`:  {`{"n":1e99999999}`: true, `{"n":-1E+99999999}`: true, `{"n":1e-99999999}`: true, `{"n":"1e99999999"}`: false},
		`{"properties":{"n":{"maximum":1e300}}}`:  {`{"n":1e401}`: false, `{"n":-1e401}`: true, `{"n":1e-401}`: true, `{"n":1e9999999999999999999}`: false},
		`{"properties":{"n":{"type":"integer"}}}`: {`{"n":12345678901234567890}`: true, `{"n":0.5}`: false, `{"n":` + strings.Repeat("9", 300) + `}`: true},
	} {
		compiled := compile(t, text)
		for document, ok := range documents {
			if err := compiled.Check(newCredential(t, document)); (err == nil) != ok {
				t.Errorf("%s and %s: got %v", text, document, err)
			}
		}
	}
}

func TestLargeCredentialIsNotTooLarge(t *testing.T) {
	compiled := compile(t, `{"additionalProperties":{"type":"string","minLength":1},"propertyNames":{"pattern":"^k"}}`)
	var document strings.Builder
	document.WriteString(`{"k":"` + strings.Repeat("x", credential.MaxSize/2) + `"`)
	for n := range 10_000 {
		fmt.Fprintf(&document, `,"k%d":"value"`, n)
	}
	document.WriteString("}")
	if err := compiled.Check(newCredential(t, document.String())); err != nil {
		t.Error(err)
	}
}

func FuzzSchemaCheck(f *testing.F) {
	for _, text := range doubling {
		f.Add([]byte(text), []byte(`{"x":{"x":[{"y":1e400}]}}`))
	}
	f.Add([]byte(schema), []byte(`{"api_key":"canary-secret"}`))
	f.Fuzz(func(t *testing.T, text, document []byte) {
		compiled, err := credential.CompileSchema(text)
		if err != nil {
			return
		}
		compiled.WriteOnly("x.0.y")
		cred, err := credential.New(credential.Document{Data: document})
		if err != nil {
			return
		}
		if err := compiled.Check(cred); err != nil && !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	})
}
