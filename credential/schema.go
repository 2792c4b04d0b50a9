package credential

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is a compiled JSON Schema that says what a provider's credential looks
// like. Drafts 4, 6, 7, 2019-09 and 2020-12 are understood; without "$schema" it
// is 2020-12. It is safe for concurrent use.
type Schema struct {
	document []byte
	first    *checker // for what is asked of the schema itself
	checkers sync.Pool
}

// schemaLocation names the schema's own document; nothing is ever loaded from it.
const schemaLocation = "credential.json"

// CompileSchema compiles a JSON Schema document. References must stay within
// the document: no file and no URL is loaded. "format" is checked, not only noted.
// Patterns are Go's regular expressions, whose time is linear in what they match.
func CompileSchema(document []byte) (*Schema, error) {
	document = bytes.Clone(document)
	first, err := newChecker(document)
	if err != nil {
		return nil, err
	}
	s := &Schema{document: document, first: first}
	s.checkers.New = func() any {
		c, _ := newChecker(document) // it compiled before
		return c
	}
	s.checkers.Put(first)
	return s, nil
}

// Document is the schema as it was given. The caller does not change it.
func (s *Schema) Document() []byte { return s.document }

// Check reports whether c fits the schema. The error is a [SchemaError].
//
// A number that has more than 400 characters or is out of the range of a float64 is
// taken for the float64 next to it. Two rules hold with any schema: a document in
// which a key is there twice breaks "uniqueKeys", as nobody can tell which of them
// counts, and one that it takes too long to check breaks "size".
func (s *Schema) Check(c *Credential) error {
	instance, err := instanceOf(c)
	if err != nil {
		return err
	}
	checker := s.checkers.Get().(*checker)
	defer s.checkers.Put(checker)
	if err = checker.check(instance); err == nil {
		return nil
	}
	broken, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	return schemaError(broken)
}

// schemaError tells where and what, and nothing of the text of broken, which quotes
// the value. The deepest cause is the most telling one.
func schemaError(broken *jsonschema.ValidationError) *SchemaError {
	for len(broken.Causes) > 0 {
		if _, ok := broken.ErrorKind.(*kind.PropertyNames); ok {
			break // the causes are about the name, as if it were a document
		}
		// They come in the order of a map.
		broken = slices.MinFunc(broken.Causes, func(a, b *jsonschema.ValidationError) int {
			return slices.Compare(a.InstanceLocation, b.InstanceLocation)
		})
	}
	at, whole := tell(broken.InstanceLocation)
	e := &SchemaError{Location: at, Rule: strings.Join(broken.ErrorKind.KeywordPath(), "/")}
	if !whole {
		return e
	}
	switch k := broken.ErrorKind.(type) {
	case *kind.Required:
		e.Location = append(e.Location, k.Missing[0]) // as the schema has it
	case *kind.DependentRequired:
		e.Location = append(e.Location, k.Missing[0])
	case *kind.Dependency:
		e.Location = append(e.Location, k.Missing[0])
	case *kind.AdditionalProperties:
		e.Location, _ = tell(append(at, slices.Min(k.Properties)))
	case *kind.PropertyNames:
		e.Location, _ = tell(append(at, k.Property))
	}
	return e
}

// maxTold is how long a name of a credential's property may be to be told.
const maxTold = 64

// tell returns location up to the first name that may be no name but a value in the
// wrong place: a long one, or one that is not printable ASCII.
func tell(location []string) (told []string, whole bool) {
	for i, name := range location {
		unprintable := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
		if len(name) > maxTold || unprintable {
			return location[:i:i], false
		}
	}
	return slices.Clip(location), true
}

// SchemaError is an [ErrInvalid] that says where a credential breaks which rule
// of its schema. It never holds a value.
type SchemaError struct {
	// Location is the path in the credential, down to the property that is missing
	// or one too many; empty for the whole of it. It ends above a name that is longer
	// than 64 bytes or not printable ASCII, unless the name is the schema's.
	Location []string

	// Rule is the keyword of the schema, "required" or "minLength", or "uniqueKeys" or
	// "size"; empty where the schema is false.
	Rule string
}

func (e *SchemaError) Error() string {
	var pointer strings.Builder
	for _, token := range e.Location {
		pointer.WriteByte('/')
		pointer.WriteString(pointerEscaper.Replace(token))
	}
	if e.Rule == "" {
		return fmt.Sprintf("credential breaks its schema at %q", pointer.String())
	}
	return fmt.Sprintf("credential breaks rule %q of its schema at %q", e.Rule, pointer.String())
}

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *SchemaError) Is(target error) bool { return target == ErrInvalid }

// pointerEscaper escapes a token of a JSON Pointer (RFC 6901, section 3).
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")
