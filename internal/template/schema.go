package template

import (
	"encoding/json"
	"slices"
	"strings"
)

// Schema returns the JSON Schema (2020-12) of a credential that templates can be filled
// in from: what they name is required, as a string, number or boolean; what has a default
// may be null or missing.
//
// Of a field whose path is not plain (keys of letters, digits, '_' and '-' joined by
// dots; no index) it says nothing, nor of what a string has in it.
func Schema(templates ...*Template) json.RawMessage {
	b := new(SchemaBuilder)
	b.Require(templates...)
	return b.Schema()
}

// SchemaBuilder makes the JSON Schema of a credential. Its zero value is ready for use.
type SchemaBuilder struct{ root schemaNode }

// Require adds what templates name.
func (b *SchemaBuilder) Require(templates ...*Template) {
	for _, t := range templates {
		for _, p := range t.parts {
			if p.path != "" {
				b.root.add(p.path, schemaNode{required: p.fallback == nil, scalar: p.fallback == nil, optional: p.fallback != nil})
			}
		}
	}
}

// RequireJSON adds what templates name that are filled in by [Template.ExecuteJSON].
func (b *SchemaBuilder) RequireJSON(templates ...*Template) {
	for _, t := range templates {
		if path := t.field(); path != "" {
			b.root.add(path, schemaNode{required: true, notNull: true})
		} else {
			b.Require(t)
		}
	}
}

// Token adds a token, which is a string that is not to be shown: required, and not
// empty, or a string or null if it is there.
func (b *SchemaBuilder) Token(path string, required bool) {
	b.root.add(path, schemaNode{required: required, scalar: required, text: !required, token: true})
}

// Schema returns what was added.
func (b *SchemaBuilder) Schema() json.RawMessage {
	b.root.required = true
	schema := b.root.schema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	document, _ := json.Marshal(schema) // cannot fail
	return document
}

// schemaNode is what is known of one place in a credential.
type schemaNode struct {
	required bool
	scalar   bool // a string, number or boolean
	optional bool // the same, or null
	notNull  bool // anything else
	text     bool // a string or null
	token    bool // not empty, if it is required, and not to be shown
	below    map[string]*schemaNode
}

// add notes what is known of the place at path, if that is plain.
func (p *schemaNode) add(path string, known schemaNode) {
	keys, plain := plainKeys(path)
	if !plain {
		return
	}
	for _, key := range keys {
		p.required = p.required || known.required
		if p.below == nil {
			p.below = make(map[string]*schemaNode)
		}
		if p.below[key] == nil {
			p.below[key] = &schemaNode{}
		}
		p = p.below[key]
	}
	p.required = p.required || known.required
	p.scalar = p.scalar || known.scalar
	p.optional = p.optional || known.optional
	p.notNull = p.notNull || known.notNull
	p.text = p.text || known.text
	p.token = p.token || known.token
}

// schema returns the JSON Schema of p.
func (p *schemaNode) schema() map[string]any {
	schema := make(map[string]any)
	var required []string
	properties := make(map[string]any)
	for key, below := range p.below {
		properties[key] = below.schema()
		if below.required {
			required = append(required, key)
		}
	}
	if len(properties) > 0 {
		schema["properties"] = properties
	}
	switch {
	case len(required) > 0 && (p.scalar || p.optional):
		schema["not"] = map[string]any{} // nothing is an object and no object
	case len(required) > 0:
		slices.Sort(required)
		schema["type"], schema["required"] = "object", required
	case p.text && (p.scalar || p.notNull):
		schema["type"] = "string"
	case p.scalar, p.optional && p.notNull:
		schema["type"] = []string{"string", "number", "boolean"}
	case p.text:
		schema["type"] = []string{"string", "null"}
	case p.optional:
		schema["type"] = []string{"string", "number", "boolean", "null"}
	case p.notNull:
		schema["type"] = []string{"string", "number", "boolean", "array", "object"}
	}
	if p.token {
		schema["writeOnly"] = true
		if p.required {
			schema["minLength"] = 1
		}
	}
	return schema
}

// plainKeys splits a path into its keys. It is not plain if gjson may take it for
// more than that: an index of an array, a pattern, a query, a modifier, an escape.
func plainKeys(path string) (keys []string, plain bool) {
	keys = strings.Split(path, ".")
	for i, key := range keys {
		digits := true
		for _, c := range []byte(key) {
			switch {
			case '0' <= c && c <= '9':
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '-':
				digits = false
			default:
				return nil, false
			}
		}
		if key == "" || digits && i > 0 {
			return nil, false
		}
	}
	return keys, true
}
