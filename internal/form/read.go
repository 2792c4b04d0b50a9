package form

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// ErrUnknown says that a form has something in it that was not asked for, or something
// twice, or what is no text.
var ErrUnknown = errors.New("form has something in it that was not asked for")

// Read makes a document of what was filled in, by paths. Nothing is what is empty. The
// problems are with single fields: one that is missing breaks the rule "required", one that
// is no number "type", one that could not be chosen "enum". The error is [ErrUnknown].
func (f *Form) Read(values url.Values) (document []byte, problems []*credential.SchemaError, err error) {
	for path, given := range values {
		if f.Field(path) == nil || len(given) != 1 || !utf8.ValidString(given[0]) {
			return nil, nil, ErrUnknown
		}
	}
	root := make(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(f.leaves)) {
		field, keys := f.leaves[path], strings.Split(path, separator)
		text := field.clean(values.Get(path))
		if text == "" {
			if field.Required {
				problems = append(problems, &credential.SchemaError{Location: keys, Rule: "required"})
			}
			continue
		}
		value, rule := field.read(text)
		if rule != "" {
			problems = append(problems, &credential.SchemaError{Location: keys, Rule: rule})
			continue
		}
		at := root
		for _, key := range keys[:len(keys)-1] {
			if at[key] == nil {
				at[key] = make(map[string]any)
			}
			at = at[key].(map[string]any)
		}
		at[keys[len(keys)-1]] = value
	}
	document, err = json.Marshal(root)
	return document, problems, err
}

// clean returns what was meant by what was typed, or pasted. Browsers send lines with CRLF.
func (f *Field) clean(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if f.Verbatim {
		return text
	}
	return strings.TrimSpace(text)
}

// read returns the value that a text stands for, or the rule that it breaks.
func (f *Field) read(text string) (value any, rule string) {
	switch f.Kind {
	case Choice:
		if o := f.option(text); o != nil {
			return json.RawMessage(o.json), ""
		}
		return nil, "enum"
	case Number:
		if strings.Trim(text, "0123456789+-.eE") != "" || !json.Valid([]byte(text)) {
			return nil, "type"
		}
		return json.RawMessage(text), ""
	default:
		return text, ""
	}
}
