package scheme

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Schema returns the JSON Schema (2020-12) of a credential for s, for providers
// without one of their own. What a template names is required, as a string, number
// or boolean. With OAuth2 the access token is, too; the refresh token is a string or
// null, if it is there. Both are writeOnly.
//
// Of a field whose path is not plain (keys of letters, digits, '_' and '-' joined by
// dots; no index) it says nothing: that is left to [Scheme.Resolve]. It says
// nothing of what a string has in it either: see [Scheme.Check] for what a new
// credential has to meet beyond it.
func (s *Scheme) Schema() []byte {
	root := &place{required: true}
	for _, t := range s.templates() {
		for _, path := range t.Paths() {
			root.add(path, place{required: true, scalar: true})
		}
	}
	if o := s.oauth2; o != nil {
		root.add(o.Fields.AccessToken, place{required: true, scalar: true, token: true})
		root.add(o.Fields.RefreshToken, place{text: true, token: true})
	}
	schema := root.schema()
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	document, _ := json.Marshal(schema) // cannot fail
	return document
}

// Check reports whether c can be taken as a new credential: what [Scheme.Resolve]
// and the client of a refresh need is there, the access token is one (RFC 6749
// appendix A.12), the other fields of OAuth2 are strings where they are, and the
// time of expiry is one. A stored credential may be worse and still be used. The
// error is a [credential.FieldError].
func (s *Scheme) Check(c *credential.Credential) error {
	if _, err := s.Resolve(c); err != nil {
		return err
	}
	if s.oauth2 == nil {
		return nil
	}
	return s.oauth2.checkNew(c)
}

// templates are those that a request needs.
func (s *Scheme) templates() []*Template {
	var all []*Template
	for _, h := range s.headers {
		all = append(all, h.Value)
	}
	for _, q := range s.queries {
		all = append(all, q.Value)
	}
	if s.basic != nil {
		all = append(all, s.basic.User, s.basic.Password)
	}
	return all
}

// place is what is known of one place in a credential.
type place struct {
	required bool
	scalar   bool // a string, number or boolean
	text     bool // a string or null
	token    bool // not empty, if it is required, and not to be shown
	below    map[string]*place
}

// add notes what is known of the place at path, if that is plain.
func (p *place) add(path string, known place) {
	keys, plain := plainKeys(path)
	if !plain {
		return
	}
	for _, key := range keys {
		p.required = p.required || known.required
		if p.below == nil {
			p.below = make(map[string]*place)
		}
		if p.below[key] == nil {
			p.below[key] = &place{}
		}
		p = p.below[key]
	}
	p.required = p.required || known.required
	p.scalar = p.scalar || known.scalar
	p.text = p.text || known.text
	p.token = p.token || known.token
}

// schema returns the JSON Schema of p.
func (p *place) schema() map[string]any {
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
	case len(required) > 0 && p.scalar:
		schema["not"] = map[string]any{} // nothing is an object and no object
	case len(required) > 0:
		slices.Sort(required)
		schema["type"], schema["required"] = "object", required
	case p.scalar && p.text:
		schema["type"] = "string"
	case p.scalar:
		schema["type"] = []string{"string", "number", "boolean"}
	case p.text:
		schema["type"] = []string{"string", "null"}
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
