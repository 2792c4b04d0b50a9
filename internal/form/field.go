package form

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	maxFields = 64
	maxDepth  = 4 // of groups in groups
)

// Kind is how something is asked for.
type Kind string

// The kinds. Lines are a text of several, as a key in PEM is; a choice is one of Options.
const (
	Text   Kind = "text"
	Lines  Kind = "lines"
	Email  Kind = "email"
	URL    Kind = "url"
	Number Kind = "number"
	Choice Kind = "choice"
	group  Kind = "group"
)

// separator stands between the keys of a path.
const separator = "."

// Field is a place in the credential that a person fills in, or a group of such.
type Field struct {
	// Path has the place's keys, joined by dots.
	Path string

	Kind Kind

	// Label and Hint are its title and its description; the label is never empty.
	Label, Hint string

	// Required says that the credential has to have it.
	Required bool

	// Secret says that it is not shown, neither while it is typed nor again.
	Secret bool

	// Verbatim says that spaces around what is typed belong to it.
	Verbatim bool

	// Default is what the schema has for it: a text, as it would be typed.
	Default string

	// Options are what can be chosen.
	Options []Option

	// Fields are those of a group.
	Fields []Field
}

// Option is a value that can be chosen.
type Option struct {
	Value string // as a form has it
	Label string
	json  string
}

// IsGroup reports whether f is not filled in itself.
func (f *Field) IsGroup() bool { return f.Kind == group }

// Source is what a form is made of.
type Source struct {
	// Own is the provider's schema. Nil: it has none.
	Own *credential.Schema

	// Schemas are all that a credential has to fit, Own included.
	Schemas []*credential.Schema

	// Exposed are the paths of fields that are no secrets. What Own does not describe is one
	// unless it is among them.
	Exposed []string

	// Obtained are the paths of fields that nobody brings: they come with a token.
	Obtained []string
}

// Form asks for a credential. It is safe for concurrent use.
type Form struct {
	Fields []Field

	leaves map[string]*Field // by path, without groups
}

// ErrEmpty says that schemas have nothing that a person could fill in.
var ErrEmpty = errors.New("form has nothing to ask for: have the provider's schema say what a credential has")

// New makes a form. The error says what of a schema it cannot show, or is [ErrEmpty].
func New(s Source) (*Form, error) {
	m := maker{Source: s}
	schemas := slices.DeleteFunc(slices.Clone(s.Schemas), func(one *credential.Schema) bool { return one == s.Own })
	if s.Own != nil {
		schemas = slices.Insert(schemas, 0, s.Own)
	}
	var parts []part
	for _, one := range schemas {
		document := gjson.ParseBytes(one.Document())
		parts = append(parts, part{document, document, one == s.Own})
	}
	top := Field{Required: true}
	if err := m.describe(&top, nil, parts); err != nil {
		return nil, fmt.Errorf("form cannot show %w", err)
	}
	if len(top.Fields) == 0 {
		return nil, ErrEmpty
	}
	f := &Form{Fields: top.Fields, leaves: make(map[string]*Field)}
	f.index(f.Fields)
	return f, nil
}

func (f *Form) index(fields []Field) {
	for i := range fields {
		if fields[i].IsGroup() {
			f.index(fields[i].Fields)
		} else {
			f.leaves[fields[i].Path] = &fields[i]
		}
	}
}

// Field returns the one that is filled in for path, nil if there is none.
func (f *Form) Field(path string) *Field { return f.leaves[path] }

// maker makes the fields of a form.
type maker struct {
	Source
	made int
}

// cannotShow says what a form has no field for.
func cannotShow(keys []string, why string) error {
	if len(keys) == 0 {
		return fmt.Errorf("the schema: %s", why)
	}
	return fmt.Errorf("%q: %s", strings.Join(keys, separator), why)
}

// plainKey is a property that a path names as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// describe fills in what parts say of the place with these keys.
func (m *maker) describe(f *Field, keys []string, parts []part) error {
	parts, err := together(parts)
	if err != nil {
		return cannotShow(keys, err.Error())
	}
	if slices.ContainsFunc(parts, func(p part) bool { return p.Type == gjson.False }) {
		return cannotShow(keys, "it is never valid")
	}
	f.Path = strings.Join(keys, separator)
	f.Label, f.Hint = first(parts, "title").Str, first(parts, "description").Str
	if f.Label == "" && len(keys) > 0 {
		f.Label = keys[len(keys)-1]
	}
	below := propertiesOf(parts)
	if len(below) > 0 || len(keys) == 0 {
		return m.describeGroup(f, keys, parts, below)
	}
	if m.made++; m.made > maxFields {
		return cannotShow(keys, fmt.Sprintf("there are more than %d fields", maxFields))
	}
	described := slices.ContainsFunc(parts, func(p part) bool { return p.own })
	f.Verbatim = says(parts, "format", "password")
	f.Secret = f.Verbatim || says(parts, "writeOnly", "") || !described && !slices.Contains(m.Exposed, f.Path)
	if err := f.choose(parts); err != nil {
		return cannotShow(keys, err.Error())
	}
	if value := first(parts, "default"); !f.Secret && value.Type != gjson.JSON {
		f.Default = value.String()
	}
	return nil
}

// choose finds out how the field can be asked for.
func (f *Field) choose(parts []part) error {
	options := first(parts, "enum").Array()
	if constant := first(parts, "const"); constant.Exists() {
		options = []gjson.Result{constant}
	}
	switch {
	case len(options) > 0:
		return f.offer(options, nil)
	case allows(parts, "string"):
		if keyword := textless(parts); keyword != "" {
			return fmt.Errorf("%s without a branch for text", keyword)
		}
		f.Kind = Text
		switch format := first(parts, "format").Str; {
		case first(parts, "contentMediaType").Exists():
			f.Kind = Lines
		case format == "email", format == "idn-email":
			f.Kind = Email
		case format == "uri", format == "iri":
			f.Kind = URL
		}
	case allows(parts, "integer"):
		f.Kind = Number
	case allows(parts, "boolean"):
		return f.offer(gjson.Parse("[true,false]").Array(), []string{"Yes", "No"})
	case allows(parts, "array"), allows(parts, "object"):
		return errors.New("it is an array, or an object of which nobody says what is in it")
	default:
		return errors.New("no type is left for it")
	}
	return nil
}

// offer has the field be one of values. Null is to choose nothing.
func (f *Field) offer(values []gjson.Result, labels []string) error {
	f.Kind = Choice
	for i, value := range values {
		option := Option{Value: value.String(), Label: value.String(), json: value.Raw}
		if labels != nil {
			option.Label = labels[i]
		}
		switch {
		case value.Type == gjson.Null:
			continue
		case value.Type == gjson.JSON:
			return errors.New("enum or const with an array or an object")
		case f.option(option.Value) != nil || option.Value == "":
			return fmt.Errorf("enum with two values that read %q", option.Value)
		}
		f.Options = append(f.Options, option)
	}
	return nil
}

func (f *Field) option(value string) *Option {
	if i := slices.IndexFunc(f.Options, func(o Option) bool { return o.Value == value }); i >= 0 {
		return &f.Options[i]
	}
	return nil
}

// describeGroup describes a place that has others below it.
func (m *maker) describeGroup(f *Field, keys []string, parts []part, below []string) error {
	f.Kind = group
	switch keyword := unnamed(parts, below); {
	case !allows(parts, "object"):
		return cannotShow(keys, "it has properties, and is no object")
	case keyword != "":
		return cannotShow(keys, keyword+" with properties that may be there or not")
	case len(keys) > maxDepth:
		return cannotShow(keys, fmt.Sprintf("it is deeper than %d objects", maxDepth))
	}
	for _, key := range below {
		place := append(slices.Clone(keys), key)
		switch {
		case len(keys) == 0 && key == credential.ReservedField:
			return cannotShow(place, "it is reserved")
		case !plainKey.MatchString(key):
			return cannotShow(place, "a name in a form has letters, digits, _ and - alone")
		case slices.Contains(m.Obtained, strings.Join(place, separator)):
			continue
		}
		one := Field{Required: f.Required && requires(parts, key)}
		if err := m.describe(&one, place, of(parts, key)); err != nil {
			return err
		}
		if !one.IsGroup() || len(one.Fields) > 0 {
			f.Fields = append(f.Fields, one)
		}
	}
	return nil
}

// propertiesOf returns the keys below a place in the order in which schemas name them.
func propertiesOf(parts []part) (keys []string) {
	add := func(key string) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, p := range parts {
		p.get("properties").ForEach(func(key, _ gjson.Result) bool { add(key.Str); return true })
	}
	for _, p := range parts {
		for _, key := range p.get("required").Array() {
			add(key.Str)
		}
	}
	return keys
}

// of returns what parts say of the place under key.
func of(parts []part, key string) (below []part) {
	for _, p := range parts {
		if property := member(p.get("properties"), key); property.Exists() {
			below = append(below, part{property, p.document, p.own})
		}
	}
	return below
}

func requires(parts []part, key string) bool {
	return slices.ContainsFunc(parts, func(p part) bool {
		return slices.ContainsFunc(p.get("required").Array(), func(name gjson.Result) bool { return name.Str == key })
	})
}
