package credential

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled JSON Schema that says what a provider's credential looks
// like. All drafts up to 2020-12 are understood; without "$schema" it is 2020-12.
type Schema struct{ compiled *jsonschema.Schema }

// schemaLocation names the schema's own document; nothing is ever loaded from it.
const schemaLocation = "credential.json"

// CompileSchema compiles a JSON Schema document. References must stay within
// the document: no file and no URL is loaded. "format" is checked, not only noted.
func CompileSchema(document []byte) (*Schema, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("reading JSON Schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaLocation, parsed); err != nil {
		return nil, fmt.Errorf("reading JSON Schema: %w", err)
	}
	compiled, err := compiler.Compile(schemaLocation)
	if err != nil {
		return nil, fmt.Errorf("compiling JSON Schema: %w", err)
	}
	return &Schema{compiled: compiled}, nil
}

// Check reports whether c fits the schema. The error is a [SchemaError].
func (s *Schema) Check(c *Credential) error {
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.JSON()))
	if err != nil {
		return &FieldError{Path: "@this", Reason: "is not JSON"}
	}
	err = s.compiled.Validate(instance)
	if err == nil {
		return nil
	}
	broken, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return &SchemaError{Rule: "schema"}
	}
	// The deepest first cause is the most telling one; its own text would
	// quote the value.
	for len(broken.Causes) > 0 {
		broken = broken.Causes[0]
	}
	return &SchemaError{
		Location: broken.InstanceLocation,
		Rule:     strings.Join(broken.ErrorKind.KeywordPath(), "/"),
	}
}

// SchemaError is an [ErrInvalid] that says where a credential breaks which rule
// of its schema. It never holds a value.
type SchemaError struct {
	Location []string // path in the credential; empty for the whole of it
	Rule     string   // keyword of the schema: "required", "minLength"
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

// noLoader refuses to load what a schema refers to.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a credential's schema must be one document")
}
