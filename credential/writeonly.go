package credential

import (
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// WriteOnly reports whether the schema says "writeOnly" of the property at path, or
// of one above it: keys joined by dots, the index of an array for its items. What is
// said in any branch of the schema counts, whether a credential takes it or not. The
// modifier "|@host" behind a path leads to a part of what is there.
// With any other path nobody can tell where it leads, so it is true if the schema
// has a "writeOnly" in it at all.
func (s *Schema) WriteOnly(path string) bool {
	c := s.first
	path, _ = strings.CutSuffix(path, "|@host")
	if strings.ContainsAny(path, `\*?|#@!{}[]()"`) {
		return len(c.writeOnly) > 0
	}
	parts := c.together([]*jsonschema.Schema{c.root})
	for key := range strings.SplitSeq(path, ".") {
		if c.saysWriteOnly(parts) {
			return true
		}
		var below []*jsonschema.Schema
		for _, part := range parts {
			below = append(below, at(part, key)...)
		}
		parts = c.together(below)
	}
	return c.saysWriteOnly(parts)
}

func (c *checker) saysWriteOnly(parts []*jsonschema.Schema) bool {
	for _, part := range parts {
		if c.writeOnly[part] {
			return true
		}
	}
	return false
}

// together returns parts with all that speak of the same value.
func (c *checker) together(parts []*jsonschema.Schema) []*jsonschema.Schema {
	seen := make(map[*jsonschema.Schema]bool)
	var all []*jsonschema.Schema
	for len(parts) > 0 {
		part := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		if part == nil || seen[part] {
			continue
		}
		seen[part] = true
		all = append(all, part)
		parts = append(parts, part.Ref, part.RecursiveRef, part.If, part.Then, part.Else)
		parts = append(parts, part.AllOf...)
		parts = append(parts, part.AnyOf...)
		parts = append(parts, part.OneOf...)
		for _, dependent := range part.DependentSchemas {
			parts = append(parts, dependent)
		}
		for _, dependent := range part.Dependencies {
			parts = append(parts, schemas(dependent)...)
		}
		if ref := part.DynamicRef; ref != nil {
			parts = append(parts, ref.Ref)
		}
		parts = append(parts, c.dynamic(part)...)
	}
	return all
}

// dynamic returns where a dynamic reference of part may lead to.
func (c *checker) dynamic(part *jsonschema.Schema) []*jsonschema.Schema {
	var found []*jsonschema.Schema
	for _, target := range c.parts {
		recursive := part.RecursiveRef != nil && target.RecursiveAnchor
		dynamic := part.DynamicRef != nil && part.DynamicRef.Anchor != "" && part.DynamicRef.Anchor == target.DynamicAnchor
		if recursive || dynamic {
			found = append(found, target)
		}
	}
	return found
}

// at returns what part says of the value under key.
func at(part *jsonschema.Schema, key string) []*jsonschema.Schema {
	var below []*jsonschema.Schema
	property, named := part.Properties[key]
	if named {
		below = append(below, property)
	}
	for pattern, property := range part.PatternProperties {
		if pattern.MatchString(key) {
			named = true
			below = append(below, property)
		}
	}
	if !named {
		below = append(below, schemas(part.AdditionalProperties)...)
		below = append(below, part.UnevaluatedProperties)
	}
	index, err := strconv.Atoi(key)
	if err != nil || index < 0 {
		return below
	}
	if items, ok := part.Items.([]*jsonschema.Schema); ok && index < len(items) {
		return append(below, items[index], part.Contains)
	}
	if index < len(part.PrefixItems) {
		return append(below, part.PrefixItems[index], part.Contains)
	}
	if items, ok := part.Items.(*jsonschema.Schema); ok {
		below = append(below, items)
	}
	below = append(below, schemas(part.AdditionalItems)...)
	return append(below, part.Items2020, part.UnevaluatedItems, part.Contains)
}

// schemas returns v if it is a schema, and not a boolean or a list of names.
func schemas(v any) []*jsonschema.Schema {
	if schema, ok := v.(*jsonschema.Schema); ok {
		return []*jsonschema.Schema{schema}
	}
	return nil
}
