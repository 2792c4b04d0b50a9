package fields

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// recordRoom is what Put leaves of a document's largest size, in bytes, for what
// refreshes write down in it themselves.
const recordRoom = 4 << 10

// Put returns document with a value at path. What is not there, or null, leaves the field
// as it was, and so does what would make the document one that cannot be read: the tokens
// are worth more. A number that a store would change becomes a string, in which a template
// finds the same.
func Put(document []byte, path string, value gjson.Result) []byte {
	if value.Type == gjson.Null {
		return document
	}
	raw := value.Raw
	if number := strings.TrimSpace(raw); value.Type == gjson.Number && !credential.KeepsNumber(number) {
		raw = Quote(number)
	}
	changed, err := Set(document, path, raw)
	if err != nil || len(changed) > len(document) && len(changed) > credential.MaxSize-recordRoom {
		return document
	}
	if _, err := credential.New(credential.Document{Data: changed}); err != nil {
		return document
	}
	return changed
}

// Quote returns s as a JSON string.
func Quote(s string) string {
	return string(gjson.AppendJSONString(nil, s))
}

// Set returns document with the JSON value raw at path.
func Set(document []byte, path, raw string) ([]byte, error) {
	changed, err := sjson.SetRawBytes(document, path, []byte(raw))
	switch {
	case err != nil, !json.Valid(changed):
		return nil, fmt.Errorf("document has no place for field %q", path)
	case len(changed) > credential.MaxSize:
		return nil, fmt.Errorf("document with field %q is larger than %d bytes", path, credential.MaxSize)
	}
	return changed, nil
}

// SetOptional is [Set] for what is worth less than the tokens: it is left out where
// there is no place for it.
func SetOptional(document []byte, path, raw string) []byte {
	if raw == "" {
		return document
	}
	changed, err := Set(document, path, raw)
	if err != nil {
		return document
	}
	return changed
}

// Remove returns document without the value at path, each of them where a key is
// there more than once, within reason.
func Remove(document []byte, path string) []byte {
	for range 8 {
		if !gjson.GetBytes(document, path).Exists() {
			break
		}
		changed, err := sjson.DeleteBytes(document, path)
		if err != nil || len(changed) >= len(document) || !json.Valid(changed) {
			break
		}
		document = changed
	}
	return document
}
