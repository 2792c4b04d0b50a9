package credential_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const schema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["api_key"],
	"additionalProperties": false,
	"properties": {
		"api_key": {"type": "string", "minLength": 8, "pattern": "^sk-"},
		"account": {"type": "object", "properties": {"id": {"type": "integer"}}},
		"url": {"type": "string", "format": "uri"}
	}
}`

func TestSchemaNamesThePlaceAndTheRule(t *testing.T) {
	compiled, err := credential.CompileSchema([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Check(newCredential(t, `{"api_key":"sk-123456","account":{"id":1},"_upstream_auth":{}}`)); err != nil {
		t.Errorf("a good credential is refused: %v", err)
	}
	for document, want := range map[string]credential.SchemaError{
		`{}`:                            {Location: []string{"api_key"}, Rule: "required"},
		`{"api_key":"sk-"}`:             {Location: []string{"api_key"}, Rule: "minLength"},
		`{"api_key":"hunter22"}`:        {Location: []string{"api_key"}, Rule: "pattern"},
		`{"api_key":12345678}`:          {Location: []string{"api_key"}, Rule: "type"},
		`{"api_key":"sk-123456","x":1}`: {Location: []string{"x"}, Rule: "additionalProperties"},
		`{"api_key":"sk-123456","account":{"id":"hunter22"}}`: {Location: []string{"account", "id"}, Rule: "type"},
		`{"api_key":"sk-123456","url":"hunter22"}`:            {Location: []string{"url"}, Rule: "format"},
	} {
		err := compiled.Check(newCredential(t, document))
		got, ok := errors.AsType[*credential.SchemaError](err)
		if !ok || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got error %v, want a SchemaError", document, err)
			continue
		}
		if strings.Join(got.Location, "/") != strings.Join(want.Location, "/") || got.Rule != want.Rule {
			t.Errorf("%s: got %q %q, want %q %q", document, got.Location, got.Rule, want.Location, want.Rule)
		}
		if strings.Contains(err.Error(), "hunter22") || strings.Contains(err.Error(), "12345678") {
			t.Errorf("error %q quotes a value", err)
		}
	}
}

func TestSchemasThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":              `{`,
		"broken":                `{"type": 7}`,
		"refers to a file":      `{"$ref": "file:///etc/passwd"}`,
		"refers to a site":      `{"$ref": "https://example.com/schema.json"}`,
		"refers to a neighbour": `{"$ref": "other.json"}`,
	} {
		if _, err := credential.CompileSchema([]byte(text)); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

func compile(t testing.TB, schema string) *credential.Schema {
	t.Helper()
	compiled, err := credential.CompileSchema([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchemaErrorNamesThePropertyAndNoValue(t *testing.T) {
	long := "hunter22" + strings.Repeat("x", 60)
	for name, test := range map[string]struct{ schema, document, want string }{
		"missing": {
			`{"properties":{"account":{"required":["name","id"]}}}`, `{"account":{"name":"hunter22"}}`,
			`credential breaks rule "required" of its schema at "/account/id"`,
		},
		"missing, and its name is long": {
			`{"required":["` + strings.Repeat("y", 80) + `"]}`, `{}`,
			`credential breaks rule "required" of its schema at "/` + strings.Repeat("y", 80) + `"`,
		},
		"missing below an odd name": {
			`{"additionalProperties":{"required":["id"]}}`, `{"` + long + `":{}}`, `credential breaks rule "required" of its schema at ""`,
		},
		"missing beside another": {
			`{"dependentRequired":{"user":["password"]}}`, `{"user":"hunter22"}`,
			`credential breaks rule "dependentRequired/user" of its schema at "/password"`,
		},
		"one too many": {
			`{"additionalProperties":false}`, `{"b/c":"hunter22","d":1}`,
			`credential breaks rule "additionalProperties" of its schema at "/b~1c"`,
		},
		"one too many with a long name": {
			`{"additionalProperties":false}`, `{"` + long + `":1}`, `credential breaks rule "additionalProperties" of its schema at ""`,
		},
		"one too many with an odd name": {
			`{"properties":{"a":{"additionalProperties":false}}}`, `{"a":{"hunter22\u0000":1}}`,
			`credential breaks rule "additionalProperties" of its schema at "/a"`,
		},
		"a name that does not fit": {
			`{"propertyNames":{"maxLength":3}}`, `{"abcd":"hunter22"}`, `credential breaks rule "propertyNames" of its schema at "/abcd"`,
		},
		"an odd name that does not fit": {
			`{"propertyNames":{"pattern":"^a"}}`, `{"hunter22é":1}`, `credential breaks rule "propertyNames" of its schema at ""`,
		},
		"a value under an odd name": {
			`{"additionalProperties":{"type":"string"}}`, `{"hunter22\n":1}`, `credential breaks rule "type" of its schema at ""`,
		},
		"false":    {`{"properties":{"a":false}}`, `{"a":"hunter22"}`, `credential breaks its schema at "/a"`},
		"const":    {`{"properties":{"a":{"const":"x"}}}`, `{"a":"hunter22"}`, `credential breaks rule "const" of its schema at "/a"`},
		"enum":     {`{"properties":{"a":{"enum":["x"]}}}`, `{"a":"hunter22"}`, `credential breaks rule "enum" of its schema at "/a"`},
		"pattern":  {`{"properties":{"a":{"pattern":"^x"}}}`, `{"a":"hunter22"}`, `credential breaks rule "pattern" of its schema at "/a"`},
		"format":   {`{"properties":{"a":{"format":"date-time"}}}`, `{"a":"hunter22"}`, `credential breaks rule "format" of its schema at "/a"`},
		"regex":    {`{"properties":{"a":{"format":"regex"}}}`, `{"a":"hunter22("}`, `credential breaks rule "format" of its schema at "/a"`},
		"minimum":  {`{"properties":{"a":{"minimum":23}}}`, `{"a":22}`, `credential breaks rule "minimum" of its schema at "/a"`},
		"multiple": {`{"properties":{"a":{"multipleOf":7}}}`, `{"a":22}`, `credential breaks rule "multipleOf" of its schema at "/a"`},
		"not":      {`{"properties":{"a":{"not":{"const":"hunter22"}}}}`, `{"a":"hunter22"}`, `credential breaks its schema at "/a"`},
		"items":    {`{"properties":{"a":{"items":{"type":"integer"}}}}`, `{"a":[1,"hunter22"]}`, `credential breaks rule "type" of its schema at "/a/1"`},
		"unique":   {`{"properties":{"a":{"uniqueItems":true}}}`, `{"a":["hunter22","hunter22"]}`, `credential breaks rule "uniqueItems" of its schema at "/a"`},
		"contains": {`{"properties":{"a":{"contains":{"const":1}}}}`, `{"a":["hunter22"]}`, `credential breaks rule "const" of its schema at "/a/0"`},
		"oneOf":    {`{"properties":{"a":{"oneOf":[{"type":"string"},{"minLength":1}]}}}`, `{"a":"hunter22"}`, `credential breaks rule "oneOf" of its schema at "/a"`},
		"the first of many": {
			`{"additionalProperties":{"type":"string"}}`, `{"d":1,"a":1,"c":1,"b":1}`, `credential breaks rule "type" of its schema at "/a"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile(t, test.schema)
			for range 10 { // maps have no order
				err := compiled.Check(newCredential(t, test.document))
				if !errors.Is(err, credential.ErrInvalid) || err.Error() != test.want {
					t.Fatalf("got  %v\nwant %s", err, test.want)
				}
			}
		})
	}
}

func TestEachDraftIsUnderstood(t *testing.T) {
	for name, test := range map[string]struct{ schema, good, bad string }{
		"draft 4: exclusiveMinimum is a boolean": {
			`{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"n":{"minimum":1,"exclusiveMinimum":true}}}`, `{"n":2}`, `{"n":1}`,
		},
		"draft 6: const and contains": {
			`{"$schema":"http://json-schema.org/draft-06/schema#","properties":{"n":{"contains":{"const":1}}}}`, `{"n":[0,1]}`, `{"n":[0]}`,
		},
		"draft 7: if, then, else": {
			`{"$schema":"http://json-schema.org/draft-07/schema#","if":{"required":["user"]},"then":{"required":["password"]},"else":{"required":["key"]}}`,
			`{"user":"u","password":"p"}`, `{"user":"u","key":"k"}`,
		},
		"draft 7: a reference stands alone": {
			`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"s":{"type":"string"}},"properties":{"n":{"$ref":"#/definitions/s","maxLength":1}}}`,
			`{"n":"long"}`, `{"n":1}`,
		},
		"draft 2019-09: dependentRequired and $recursiveRef": {
			`{"$schema":"https://json-schema.org/draft/2019-09/schema","$recursiveAnchor":true,"dependentRequired":{"user":["password"]},"properties":{"sub":{"$recursiveRef":"#"}}}`,
			`{"sub":{"user":"u","password":"p"}}`, `{"sub":{"user":"u"}}`,
		},
		"draft 2020-12: prefixItems and $dynamicRef": {
			`{"$schema":"https://json-schema.org/draft/2020-12/schema","$dynamicAnchor":"node","properties":{"pair":{"prefixItems":[{"type":"string"},{"$dynamicRef":"#node"}]}},"unevaluatedProperties":false}`,
			`{"pair":["x",{"pair":["y"]}]}`, `{"pair":["x",{"pear":1}]}`,
		},
		"none is 2020-12": {`{"properties":{"n":{"prefixItems":[{"type":"string"}]}}}`, `{"n":["x"]}`, `{"n":[1]}`},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile(t, test.schema)
			if err := compiled.Check(newCredential(t, test.good)); err != nil {
				t.Errorf("%s: %v", test.good, err)
			}
			if err := compiled.Check(newCredential(t, test.bad)); !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("%s: got %v", test.bad, err)
			}
		})
	}
}

func TestSchemaSeesWhatPathsFind(t *testing.T) {
	compiled := compile(t, `{"properties":{"key":{"const":"good"},"sub":{"properties":{"n":{"maximum":5}}}}}`)
	for document, want := range map[string]string{
		`{"\u006bey":"\u0067ood","sub":{"n":5.0}}`: "",
		`{"sub":{"n":5.00000000000000000001}}`:     "maximum at sub/n",
		`{"key":"good","key":"good"}`:              "uniqueKeys at key",
		`{"key":"good","\u006bey":"bad"}`:          "uniqueKeys at key",
		`{"a":[{},{"b":{"c":1,"c":2}}]}`:           "uniqueKeys at a/1/b/c",
		`{"sub":{"n":1},"sub":{"n":6}}`:            "uniqueKeys at sub",
		`{"a\n":{"b":1,"b":1}}`:                    "uniqueKeys at ",
		`{"a":{"b":1},"b":{"a":1,"b":1}}`:          "",
	} {
		err := compiled.Check(newCredential(t, document))
		broken, _ := errors.AsType[*credential.SchemaError](err)
		if got := ""; err != nil {
			if got = broken.Rule + " at " + strings.Join(broken.Location, "/"); got != want {
				t.Errorf("%s: got %q, want %q", document, got, want)
			}
		} else if want != "" {
			t.Errorf("%s passes", document)
		}
	}
}

func TestOneSchemaForManyAtATime(t *testing.T) {
	compiled := compile(t, schema)
	good, bad := newCredential(t, `{"api_key":"sk-123456"}`), newCredential(t, `{"api_key":"sk-"}`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if err := compiled.Check(good); err != nil {
					t.Error(err)
				}
				if err := compiled.Check(bad); err == nil {
					t.Error("a bad credential passes")
				}
			}
		})
	}
	all.Wait()
}
