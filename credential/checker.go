package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxSteps bounds one check: about one step for each pair of a part of the schema
// and a part of the document. Parts of a schema that refer to each other can
// otherwise double the work with each level of the document. It is well below a
// second, and a hundred times what a large credential takes.
const maxSteps = 1 << 16

// checker is a compiled schema that counts what a check costs. One check uses it at
// a time.
type checker struct {
	root  *jsonschema.Schema
	parts []*jsonschema.Schema // all of them, root included

	// writeOnly are the parts that say so, in drafts that do not know it, too.
	writeOnly map[*jsonschema.Schema]bool

	left int // steps of the check under way
}

var errTooCostly = errors.New("the check takes too long")

func newChecker(document []byte) (*checker, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("reading JSON Schema: %w", err)
	}
	c := &checker{writeOnly: make(map[*jsonschema.Schema]bool)}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.AssertFormat()
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: "urn:upstream-auth:parts", Compile: c.collect})
	compiler.AssertVocabs()
	if err := compiler.AddResource(schemaLocation, parsed); err != nil {
		return nil, fmt.Errorf("reading JSON Schema: %w", err)
	}
	if c.root, err = compiler.Compile(schemaLocation); err != nil {
		return nil, fmt.Errorf("compiling JSON Schema: %w", err)
	}
	for _, part := range c.parts {
		c.meter(part)
	}
	return c, nil
}

// collect notes each part of the schema when it is compiled. It stands in for a
// vocabulary of keywords, and has none.
func (c *checker) collect(ctx *jsonschema.CompilerContext, object map[string]any) (jsonschema.SchemaExt, error) {
	part := ctx.Enqueue(nil) // the one that is being compiled
	c.parts = append(c.parts, part)
	if object["writeOnly"] == true {
		c.writeOnly[part] = true
	}
	return nil, nil
}

// meter makes part count what it is asked. Its format is the one thing of a part
// that is asked each time, and before the parts below it.
func (c *checker) meter(part *jsonschema.Schema) {
	var name string
	validate := func(any) error { return nil }
	if f := part.Format; f != nil {
		name, validate = f.Name, f.Validate
	}
	part.Format = &jsonschema.Format{Name: name, Validate: func(v any) error {
		if c.left >= 0 {
			c.left -= cost(part, v)
		}
		if c.left < 0 {
			return errTooCostly // and so will all that is still to be asked
		}
		return validate(v)
	}}
}

// check returns a [SchemaError] or what jsonschema has to say.
func (c *checker) check(instance any) error {
	c.left = maxSteps
	err := c.root.Validate(instance)
	if c.left < 0 {
		return &SchemaError{Rule: "size"}
	}
	return err
}

// cost is what asking part about v takes without what is below them.
func cost(part *jsonschema.Schema, v any) int {
	const bytesPerStep, membersPerStep = 64, 16
	switch v := v.(type) {
	case string:
		return 1 + len(v)/bytesPerStep
	case json.Number:
		return 1 + len(v)/16 // as a fraction
	case map[string]any:
		bytes := 0
		for key := range v {
			bytes += len(key)
		}
		return 1 + len(v)/membersPerStep + bytes/bytesPerStep
	case []any:
		steps := 1 + len(v)/membersPerStep
		if part.UniqueItems {
			steps += len(v) * weight(v) / 16 // each may have to be compared with each
		}
		return steps
	}
	return 1
}

// weight is the cost of looking at all of v.
func weight(v any) int {
	steps := cost(&jsonschema.Schema{}, v)
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			steps += weight(member)
		}
	case []any:
		for _, item := range v {
			steps += weight(item)
		}
	}
	return steps
}

// noLoader refuses to load what a schema refers to.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a credential's schema must be one document")
}
