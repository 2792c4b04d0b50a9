package credential_test

import "testing"

func TestWriteOnly(t *testing.T) {
	for name, test := range map[string]struct {
		schema string
		paths  map[string]bool
	}{
		"properties": {
			`{"properties":{"key":{"writeOnly":true},"host":{"writeOnly":false},"sub":{"properties":{"pin":{"writeOnly":true},"name":{}}}}}`,
			map[string]bool{"key": true, "host": false, "sub": false, "sub.pin": true, "sub.name": false, "absent": false, "sub.absent.more": false},
		},
		"a parent": {
			`{"properties":{"sub":{"writeOnly":true,"properties":{"name":{"writeOnly":false}}}}}`,
			map[string]bool{"sub": true, "sub.name": true, "sub.name.more": true, "subs": false},
		},
		"the whole": {`{"writeOnly":true}`, map[string]bool{"any.thing": true}},
		"references": {
			`{"properties":{"a":{"$ref":"#/$defs/secret"},"b":{"$ref":"#/$defs/sub"}},"$defs":{"secret":{"writeOnly":true},"sub":{"properties":{"c":{"$ref":"#/$defs/secret"}}}}}`,
			map[string]bool{"a": true, "b": false, "b.c": true},
		},
		"branches": {
			`{"allOf":[{"properties":{"a":{"writeOnly":true}}}],"anyOf":[{"properties":{"b":{"writeOnly":true}}},{}],
				"oneOf":[{},{"properties":{"c":{"writeOnly":true}}}],"if":{"properties":{"d":{"writeOnly":true}}},
				"then":{"properties":{"e":{"writeOnly":true}}},"else":{"properties":{"f":{"writeOnly":true}}},
				"dependentSchemas":{"x":{"properties":{"g":{"writeOnly":true}}}},"not":{"properties":{"h":{"writeOnly":true}}}}`,
			map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true, "f": true, "g": true, "h": false},
		},
		"other ways to a property": {
			`{"properties":{"open":{"additionalProperties":{"writeOnly":true},"properties":{"name":{}}},"left":{"unevaluatedProperties":{"writeOnly":true}}},
				"patternProperties":{"_key$":{"writeOnly":true}},"additionalProperties":false}`,
			map[string]bool{"api_key": true, "open.any": true, "open.name": false, "left.any": true, "other": false},
		},
		"items": {
			`{"properties":{"list":{"items":{"properties":{"pin":{"writeOnly":true}}}},"pair":{"prefixItems":[{},{"writeOnly":true}],"items":{}}}}`,
			map[string]bool{"list": false, "list.0.pin": true, "list.7.pin": true, "list.0.name": false, "pair.0": false, "pair.1": true, "pair.2": false},
		},
		"items of draft 7": {
			`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"pair":{"items":[{},{"writeOnly":true}],"additionalItems":{"writeOnly":true}},"list":{"items":{"writeOnly":true}}}}`,
			map[string]bool{"pair.0": false, "pair.1": true, "pair.2": true, "list.3": true},
		},
		"drafts that do not know it": {
			`{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"key":{"writeOnly":true},"ref":{"$ref":"#/definitions/x","writeOnly":true},"host":{}},"definitions":{"x":{}}}`,
			map[string]bool{"key": true, "ref": true, "host": false},
		},
		"recursive": {
			`{"properties":{"sub":{"$ref":"#"},"key":{"writeOnly":true}},"allOf":[{"$ref":"#"}]}`,
			map[string]bool{"sub.sub.sub": false, "sub.sub.key": true},
		},
		"dynamic": {
			`{"$id":"https://x.example/root","$ref":"list","$defs":{"item":{"$dynamicAnchor":"T","writeOnly":true},
				"list":{"$id":"list","properties":{"items":{"items":{"$dynamicRef":"#T"}}},"$defs":{"default":{"$dynamicAnchor":"T"}}}}}`,
			map[string]bool{"items": false, "items.0": true},
		},
		"paths that are not simple": {
			`{"properties":{"a.b":{"writeOnly":true}}}`,
			map[string]bool{`a\.b`: true, "list.#(x==1).y": true, "a*": true, "@this": true, "a.b": false},
		},
		"a host of a field": {
			`{"properties":{"token":{"writeOnly":true},"at":{"properties":{"url":{}}}}}`,
			map[string]bool{"at.url|@host": false, "token|@host": true, "at.url|@this": true, "#.url|@host": true},
		},
		"nothing to hide": {`{"properties":{"a":{}}}`, map[string]bool{"a": false, "list.#.y": false, "": false}},
		"false":           {`false`, map[string]bool{"a": false}},
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile(t, test.schema)
			for path, want := range test.paths {
				if got := compiled.WriteOnly(path); got != want {
					t.Errorf("%s: got %v", path, got)
				}
			}
		})
	}
}
