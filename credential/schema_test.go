package credential_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const schema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["api_key"],
	"additionalProperties": false,
	"properties": {
		"api_key": {"type": "string", "minLength": 8, "pattern": "^sk-"},
		"account": {"type": "object", "properties": {"id": {"type": "integer"}}},
		"url": {"type": "string", "format": "uri"}
	}
}`

func TestSchemaNamesThePlaceAndTheRule(t *testing.T) {
	compiled, err := credential.CompileSchema([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Check(newCredential(t, `{"api_key":"sk-123456","account":{"id":1},"_upstream_auth":{}}`)); err != nil {
		t.Errorf("a good credential is refused: %v", err)
	}
	for document, want := range map[string]credential.SchemaError{
		`{}`:                            {Rule: "required"},
		`{"api_key":"sk-"}`:             {Location: []string{"api_key"}, Rule: "minLength"},
		`{"api_key":"hunter22"}`:        {Location: []string{"api_key"}, Rule: "pattern"},
		`{"api_key":12345678}`:          {Location: []string{"api_key"}, Rule: "type"},
		`{"api_key":"sk-123456","x":1}`: {Rule: "additionalProperties"},
		`{"api_key":"sk-123456","account":{"id":"hunter22"}}`: {Location: []string{"account", "id"}, Rule: "type"},
		`{"api_key":"sk-123456","url":"hunter22"}`:            {Location: []string{"url"}, Rule: "format"},
	} {
		err := compiled.Check(newCredential(t, document))
		got, ok := errors.AsType[*credential.SchemaError](err)
		if !ok || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got error %v, want a SchemaError", document, err)
			continue
		}
		if strings.Join(got.Location, "/") != strings.Join(want.Location, "/") || got.Rule != want.Rule {
			t.Errorf("%s: got %q %q, want %q %q", document, got.Location, got.Rule, want.Location, want.Rule)
		}
		if strings.Contains(err.Error(), "hunter22") || strings.Contains(err.Error(), "12345678") {
			t.Errorf("error %q quotes a value", err)
		}
	}
}

func TestSchemasThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":              `{`,
		"broken":                `{"type": 7}`,
		"refers to a file":      `{"$ref": "file:///etc/passwd"}`,
		"refers to a site":      `{"$ref": "https://example.com/schema.json"}`,
		"refers to a neighbour": `{"$ref": "other.json"}`,
	} {
		if _, err := credential.CompileSchema([]byte(text)); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

func TestEarlierDraftsAreUnderstood(t *testing.T) {
	compiled, err := credential.CompileSchema([]byte(
		`{"$schema":"http://json-schema.org/draft-04/schema#","properties":{"n":{"minimum":1,"exclusiveMinimum":true}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Check(newCredential(t, `{"n":1}`)); err == nil {
		t.Error("the meaning that draft 4 gives exclusiveMinimum is lost")
	}
}
