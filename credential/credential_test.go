package credential_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func newCredential(t *testing.T, document string) *credential.Credential {
	t.Helper()
	cred, err := credential.New(credential.Document{Data: []byte(document), Version: 1})
	if err != nil {
		t.Fatalf("making a credential of %s: %v", document, err)
	}
	return cred
}

func TestTextOfAField(t *testing.T) {
	cred := newCredential(t, `{
		"api_key": "k-1", "account": {"id": 12345678901234567890, "ids": ["a", "b"]}, "live": true,
		"none": null, "ratio": 1.50, "a.b": "dotted"
	}`)
	for path, want := range map[string]string{
		"api_key":       "k-1",
		"account.id":    "12345678901234567890", // digits stay as they were written
		"account.ids.1": "b",
		"live":          "true",
		"ratio":         "1.50",
		`a\.b`:          "dotted",
	} {
		if got, err := cred.Text(path); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	for path, reason := range map[string]string{
		"absent": "is missing", "none": "is null",
		"account": "is not a string", "account.ids": "is not a string",
	} {
		_, err := cred.Text(path)
		field, ok := errors.AsType[*credential.FieldError](err)
		if !ok || field.Path != path || !strings.HasPrefix(field.Reason, reason) || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: got error %v, want a FieldError: %s", path, err, reason)
		}
	}
}

func TestReservedFieldIsHidden(t *testing.T) {
	for name, document := range map[string]string{
		"alone":  `{"_upstream_auth":{"status":"ready"}}`,
		"first":  `{"_upstream_auth":{"status":"ready"},"a":"1"}`,
		"last":   `{"a":"1","_upstream_auth":{"status":"ready"}}`,
		"twice":  `{"_upstream_auth":1,"a":"1","_upstream_auth":{"status":"ready"}}`,
		"spaced": "{\n \"_upstream_auth\" : {\"status\":\"ready\"} ,\n \"a\":\"1\"}",
	} {
		t.Run(name, func(t *testing.T) {
			cred := newCredential(t, document)
			var visible map[string]json.RawMessage
			if err := json.Unmarshal(cred.JSON(), &visible); err != nil {
				t.Fatalf("what is left is no JSON object: %v: %s", err, cred.JSON())
			}
			if _, there := visible[credential.ReservedField]; there || cred.Get("_upstream_auth.status").Exists() {
				t.Errorf("the reserved field can be seen in %s", cred.JSON())
			}
			if string(cred.Stored()) != document {
				t.Errorf("the stored document changed to %s", cred.Stored())
			}
		})
	}
}

func TestDocumentsThatAreNoCredential(t *testing.T) {
	for name, document := range map[string]string{
		"empty": "", "blank": " ", "array": `["secret"]`, "string": `"secret"`, "null": "null",
		"cut": `{"a":"secret`, "two": `{"a":"secret"}{}`, "not JSON": "a=secret",
		"deep":  `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"large": `{"a":"` + strings.Repeat("x", credential.MaxSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := credential.New(credential.Document{Data: []byte(document)})
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("got error %v, want ErrInvalid", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q quotes the document", err)
			}
		})
	}
}

func FuzzNew(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"_upstream_auth":{}}`, `{"\u005fupstream_auth":1,"a":2}`, `{"a":{"_upstream_auth":1}}`,
		`{"_upstream_auth":1,"_upstream_auth":2}`, `[1]`, `{"a":"\ud800"}`, " {\"a\" : [ ] } ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		cred, err := credential.New(credential.Document{Data: document})
		if err != nil {
			if !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("got error %v, want ErrInvalid", err)
			}
			return
		}
		var visible map[string]json.RawMessage
		if err := json.Unmarshal(cred.JSON(), &visible); err != nil {
			t.Fatalf("%q became %q: %v", document, cred.JSON(), err)
		}
		if _, there := visible[credential.ReservedField]; there {
			t.Errorf("the reserved field can be seen in %q", cred.JSON())
		}
		if cred.Get(credential.ReservedField).Exists() {
			t.Errorf("a path reaches the reserved field in %q", cred.JSON())
		}
	})
}

func TestMemoBelongsToItsOwner(t *testing.T) {
	cred := newCredential(t, `{}`)
	type owner struct{ _ int }
	first, second := new(owner), new(owner)
	computed := 0
	get := func(o *owner) any { return cred.Memo(o, func() any { computed++; return o }) }
	for range 2 {
		if get(first) != first || get(second) != second {
			t.Fatal("an owner was given another's value")
		}
	}
	computed = 0
	get(second)
	if computed != 0 {
		t.Error("the value of the last owner was computed again")
	}
}
