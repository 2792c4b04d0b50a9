package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// credentialPrefix begins a placeholder that stands for a field of the credential.
const credentialPrefix = "credential."

// Template is text with placeholders for fields of a credential. It is never
// changed once parsed.
type Template struct {
	parts []part
}

// part is literal text or, if it has a path, a field of the credential, which goes through
// the steps in their order. With a fallback, which has gone through them, it may be missing.
type part struct {
	text     string
	path     string
	written  string // the path with its filters, as in the template
	steps    []step
	fallback *string
}

// Parse parses text in which {credential.PATH} stands for the string,
// number or boolean at that gjson path, and any other {NAME} for what lookup
// returns for it now. A nil lookup knows no name. What lookup returns is literal
// text and not parsed again.
//
// Filters may follow the path, each behind a '|' that is neither in quotes nor in brackets:
//
//	base64, base64url, hex, urlencode   the text in that encoding (base64url: without padding)
//	unbase64, unhex                     the bytes that the text stands for
//	lower, upper                        the text in lower or upper case
//	before:TEXT, after:TEXT             what stands before or after the first TEXT in it
//	default:TEXT                        TEXT if the field is missing, null or empty
//
// In a TEXT '\' stands before each of |\"(){}[]. What is no filter's name belongs to the
// path: a key base64 is .base64 there, and not |base64.
//
// A placeholder ends at the first '}' that is neither inside a quoted string, as
// in {credential.keys.#(id=="}").value}, nor escaped by '\'. An unclosed or empty
// placeholder, one inside another, and an empty path are errors. A '}' outside a
// placeholder is literal.
func Parse(text string, lookup func(name string) (string, error)) (*Template, error) {
	t := &Template{}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		t.appendText(literal)
		if !found {
			break
		}
		end, err := placeholderEnd(after)
		if err != nil {
			return nil, err
		}
		name := after[:end]
		rest = after[end+1:]

		if path, ok := strings.CutPrefix(name, credentialPrefix); ok {
			field, err := parseField(path)
			if err != nil {
				return nil, err
			}
			t.parts = append(t.parts, field)
			continue
		}
		if name == "" {
			return nil, errors.New("empty placeholder {}")
		}
		if field, err := parseField(name); err != nil || field.path != name {
			return nil, fmt.Errorf("placeholder {%s}: filters are for fields of the credential", name)
		}
		if lookup == nil {
			return nil, fmt.Errorf("unknown placeholder {%s}", name)
		}
		value, err := lookup(name)
		if err != nil {
			return nil, fmt.Errorf("placeholder {%s}: %w", name, err)
		}
		t.appendText(value)
	}
	return t, nil
}

// placeholderEnd returns the index of the '}' that closes the placeholder whose
// inside text begins with.
func placeholderEnd(text string) (int, error) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '}':
			return i, nil
		case c == '{':
			return 0, errors.New("placeholder inside a placeholder")
		}
	}
	return 0, errors.New("unclosed placeholder")
}

// appendText adds literal text, joining it with literal text before it.
func (t *Template) appendText(text string) {
	if text == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].path == "" {
		t.parts[n-1].text += text
		return
	}
	t.parts = append(t.parts, part{text: text})
}

// Literal returns the template that is a text as it stands.
func Literal(text string) *Template {
	t := new(Template)
	t.appendText(text)
	return t
}

// String returns the text of t, with the fields of the credential and their filters by
// name; "" of nil. It may have secrets in its literal text.
func (t *Template) String() string {
	if t == nil {
		return ""
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.path != "" {
			b.WriteString("{" + credentialPrefix + p.written + "}")
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// UsesCredential reports whether t has a field of the credential in it.
func (t *Template) UsesCredential() bool { return len(t.Paths()) > 0 }

// Paths returns the gjson paths in t, each once, in order of appearance.
func (t *Template) Paths() []string {
	var paths []string
	for _, p := range t.parts {
		if p.path != "" && !slices.Contains(paths, p.path) {
			paths = append(paths, p.path)
		}
	}
	return paths
}

// IsEmpty reports whether there is nothing in t, which may be nil.
func (t *Template) IsEmpty() bool { return t == nil || len(t.parts) == 0 }

// Execute returns the text with the fields of c, as their filters make them, in their
// places. A field that is missing, null, empty or composite, or makes the text longer than [MaxLength], is a
// [credential.FieldError].
func (t *Template) Execute(c *credential.Credential) (string, error) {
	return t.ExecuteWith(c, NotEmpty)
}

// ExecuteWith is Execute with a rule that what every field becomes has to meet.
func (t *Template) ExecuteWith(c *credential.Credential, rule Rule) (string, error) {
	switch len(t.parts) {
	case 0:
		return "", nil
	case 1:
		p := &t.parts[0]
		if p.path == "" {
			return p.text, nil
		}
		value, err := p.execute(c, rule)
		if err == nil {
			err = checkLength(p.path, len(value))
		}
		if err != nil {
			return "", err
		}
		return value, nil
	}

	var small [4]string
	values := small[:0]
	length, longest, last := 0, -1, ""
	for i := range t.parts {
		p := &t.parts[i]
		value := p.text
		if p.path != "" {
			var err error
			if value, err = p.execute(c, rule); err != nil {
				return "", err
			}
			if len(value) > longest {
				longest, last = len(value), p.path
			}
		}
		length += len(value)
		values = append(values, value)
	}
	if err := checkLength(last, length); err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(length)
	for _, value := range values {
		b.WriteString(value)
	}
	return b.String(), nil
}

// ExecuteJSON returns the JSON value that t makes of c: that of the field itself, whatever
// that is but null, if t is one field and nothing else, without filters; or else the text.
// Errors are those of [Template.Execute].
func (t *Template) ExecuteJSON(c *credential.Credential) (json.RawMessage, error) {
	if path := t.field(); path != "" {
		switch value := c.Get(path); {
		case value.Type == gjson.Null, value.Type == gjson.String && value.Str == "":
			_, err := Field(c, path, NotEmpty)
			return nil, err
		case !json.Valid([]byte(value.Raw)): // what the path itself makes up
			return nil, &credential.FieldError{Path: path, Reason: "is not JSON"}
		default:
			return json.RawMessage(value.Raw), checkLength(path, len(value.Raw))
		}
	}
	text, err := t.ExecuteWith(c, Text)
	if err != nil {
		return nil, err
	}
	return json.Marshal(text)
}

// field returns the path of the field that is all of t, as it is in the credential; "": t
// is something else.
func (t *Template) field() string {
	if len(t.parts) == 1 && len(t.parts[0].steps) == 0 && t.parts[0].fallback == nil {
		return t.parts[0].path
	}
	return ""
}

// Field returns the value at a gjson path. One that is missing, null or composite, or
// breaks the rule, is a [credential.FieldError].
func Field(c *credential.Credential, path string, rule Rule) (string, error) {
	return (&part{path: path}).execute(c, rule)
}

// execute returns what a field becomes, if that meets the rule.
func (p *part) execute(c *credential.Credential, rule Rule) (string, error) {
	value, err := p.value(c)
	if err != nil {
		return "", err
	}
	if reason := rule(value); reason != "" {
		return "", &credential.FieldError{Path: p.path, Reason: reason}
	}
	return value, nil
}

// checkLength blames the field at path if a value gets too long.
func checkLength(path string, length int) error {
	if path != "" && length > MaxLength {
		return &credential.FieldError{Path: path, Reason: fmt.Sprintf("makes a value longer than %d bytes", MaxLength)}
	}
	return nil
}

// CheckLiterals applies rule to the literal text of t, except that it may be
// empty, and to the defaults in it. The error does not quote the text, which may be a
// secret.
func (t *Template) CheckLiterals(rule Rule) error {
	length := 0
	for _, p := range t.parts {
		if p.fallback != nil {
			if reason := rule(*p.fallback); reason != "" {
				return fmt.Errorf("default of %s %s", p.path, reason)
			}
		}
		if p.text == "" {
			continue
		}
		if reason := rule(p.text); reason != "" {
			return fmt.Errorf("text of the template %s", reason)
		}
		length += len(p.text)
	}
	if length > MaxLength {
		return fmt.Errorf("text of the template is longer than %d bytes", MaxLength)
	}
	return nil
}
