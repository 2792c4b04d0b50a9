package oauth2

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// FieldMapping puts a part of a token response into the credential.
type FieldMapping struct {
	// Field is a path in the credential, as in [Fields]. It must not lie above or
	// below a field of the tokens, or that of another mapping.
	Field string

	// From is a gjson path in the token response. "|@host" makes a host name of a URL.
	From string
}

// recordRoom is what mappings leave of a document's largest size, in bytes, for what
// refreshes write down in it themselves.
const recordRoom = 4 << 10

// NewDocument returns a new document of the first token response (RFC 6749 section
// 4.1.4), a JSON object that was received at now: base, without tokens, with those, as in
// [Renewer.Merge], and FirstFields. The error is an [ErrResponse] if the answer is of no
// use, and comes without a document.
func (r *Renewer) NewDocument(base, response []byte, now time.Time) ([]byte, error) {
	document, err := r.mergeTokens(base, response, now)
	if err != nil {
		return nil, err
	}
	return MapFields(document, response, r.FirstFields), nil
}

// MapFields returns document with what mappings take from response, a JSON object. What is not there,
// or null, leaves the field as it was, and so does what would make the document one
// that cannot be read: the tokens are worth more. A number that a store would change
// becomes a string, in which a template finds the same.
func MapFields(document, response []byte, mappings []FieldMapping) []byte {
	for _, m := range mappings {
		value := gjson.GetBytes(response, m.From)
		if value.Type == gjson.Null {
			continue
		}
		raw := value.Raw
		if number := strings.TrimSpace(raw); value.Type == gjson.Number && !credential.KeepsNumber(number) {
			raw = quote(number)
		}
		changed, err := set(document, m.Field, raw)
		if err != nil || len(changed) > len(document) && len(changed) > credential.MaxSize-recordRoom {
			continue
		}
		if _, err := credential.New(credential.Document{Data: changed}); err == nil {
			document = changed
		}
	}
	return document
}

func (o *Config) checkMappings() error {
	for name, mappings := range map[string][]FieldMapping{"first": o.FirstFields, "refresh": o.RefreshFields} {
		paths := o.Fields.paths()
		for _, m := range mappings {
			if err := checkSource(m.From); err != nil {
				return fmt.Errorf("%s field %q: %w", name, m.Field, err)
			}
			paths = append(paths, m.Field)
		}
		if err := checkPlaces(paths); err != nil {
			return fmt.Errorf("%s fields: %w", name, err)
		}
	}
	return nil
}

// checkSource finds what would never find anything.
func checkSource(path string) error {
	if path == "" {
		return errors.New("path in the token response is missing")
	}
	for i, part := range strings.Split(path, "|") {
		modifier, ok := strings.CutPrefix(part, "@")
		if !ok || i == 0 {
			continue // at the start it may be a key
		}
		if end := strings.IndexAny(modifier, ":."); end >= 0 {
			modifier = modifier[:end]
		}
		if !gjson.ModifierExists(modifier, nil) {
			return fmt.Errorf("unknown modifier @%s", modifier)
		}
	}
	return nil
}
