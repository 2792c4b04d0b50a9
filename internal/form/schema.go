package form

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// maxParts bounds what speaks of one place: references may lead in circles.
const maxParts = 64

// part is a schema that speaks of a place in the credential.
type part struct {
	gjson.Result
	document gjson.Result // which it is in, for its references
	own      bool         // the provider's
}

func (p part) get(keyword string) gjson.Result { return member(p.Result, keyword) }

// member returns the member of an object, whatever is in its name.
func member(object gjson.Result, name string) (found gjson.Result) {
	if !object.IsObject() {
		return found
	}
	object.ForEach(func(key, value gjson.Result) bool {
		if key.Str == name {
			found = value
		}
		return !found.Exists()
	})
	return found
}

// together returns parts with those that they refer to, and those that hold besides.
func together(parts []part) (all []part, err error) {
	for ; len(parts) > 0; parts = parts[1:] {
		p := parts[0]
		if all = append(all, p); len(all) > maxParts {
			return nil, errors.New("references that lead in a circle, or to too many places")
		}
		for _, keyword := range []string{"$dynamicRef", "$recursiveRef"} {
			if p.get(keyword).Exists() {
				return nil, errors.New(keyword)
			}
		}
		if ref := p.get("$ref"); ref.Exists() {
			target, found := lookUp(p.document, ref.Str)
			if !found {
				return nil, fmt.Errorf("$ref %q", ref.Str)
			}
			parts = append(parts, part{target, p.document, p.own})
		}
		for _, branch := range p.get("allOf").Array() {
			parts = append(parts, part{branch, p.document, p.own})
		}
	}
	return all, nil
}

// lookUp follows a reference within a document: a JSON Pointer (RFC 6901) behind a '#'.
func lookUp(document gjson.Result, ref string) (gjson.Result, bool) {
	pointer, within := strings.CutPrefix(ref, "#")
	pointer, err := url.PathUnescape(pointer)
	if !within || err != nil || pointer != "" && pointer[0] != '/' {
		return gjson.Result{}, false
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if pointer == "" {
			break
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if document.IsArray() {
			i, err := strconv.Atoi(token)
			if items := document.Array(); err == nil && i >= 0 && i < len(items) {
				document = items[i]
				continue
			}
			return gjson.Result{}, false
		}
		if document = member(document, token); !document.Exists() {
			return document, false
		}
	}
	return document, true
}

// first returns the first that parts say under a keyword.
func first(parts []part, keyword string) gjson.Result {
	for _, p := range parts {
		if value := p.get(keyword); value.Exists() {
			return value
		}
	}
	return gjson.Result{}
}

// says reports whether one of parts has true, or a text, under a keyword.
func says(parts []part, keyword, text string) bool {
	return slices.ContainsFunc(parts, func(p part) bool {
		value := p.get(keyword)
		return value.Type == gjson.True && text == "" || value.Type == gjson.String && value.Str == text && text != ""
	})
}

// allows reports whether no part forbids values of a type.
func allows(parts []part, name string) bool {
	return !slices.ContainsFunc(parts, func(p part) bool {
		var said []string
		for _, value := range p.get("type").Array() { // one name is an array of one, too
			said = append(said, value.Str)
		}
		return len(said) > 0 && !slices.Contains(said, name) && (name != "integer" || !slices.Contains(said, "number"))
	})
}

// textless returns the keyword of which all branches want another type than text.
func textless(parts []part) string {
	for _, p := range parts {
		for _, keyword := range []string{"anyOf", "oneOf"} {
			branches := p.get(keyword).Array()
			if len(branches) > 0 && !slices.ContainsFunc(branches, func(b gjson.Result) bool { return allows([]part{{Result: b}}, "string") }) {
				return keyword
			}
		}
	}
	return ""
}

// branching are the keywords whose schemas hold at times, or for what a person names.
var branching = []string{"anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "dependencies", "patternProperties"}

// unnamed returns the keyword under which parts have properties that are not among keys,
// or may have some: a form would have no field for them.
func unnamed(parts []part, keys []string) string {
	for _, p := range parts {
		for _, keyword := range branching {
			branches := p.get(keyword)
			if keyword == "patternProperties" && branches.Exists() || names(branches, keys, maxDepth) {
				return keyword
			}
		}
	}
	return ""
}

// names reports whether in a schema, or in those below it, there are properties beside keys.
func names(schema gjson.Result, keys []string, depth int) (found bool) {
	if depth == 0 {
		return true
	}
	schema.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "$ref", "$dynamicRef", "$recursiveRef":
			found = true
		case "properties":
			value.ForEach(func(name, _ gjson.Result) bool {
				found = !slices.Contains(keys, name.Str)
				return !found
			})
		default:
			found = value.Type == gjson.JSON && names(value, keys, depth-1)
		}
		return !found
	})
	return found
}
