package oauth2

import (
	"fmt"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
)

// FieldMapping puts a part of a token response into the credential.
type FieldMapping struct {
	// Field is a path in the credential, as in [Fields]. It must not lie above or
	// below a field of the tokens, or that of another mapping.
	Field string

	// From is a gjson path in the token response. "|@host" makes a host name of a URL.
	From string
}

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
		document = fields.Put(document, m.Field, gjson.GetBytes(response, m.From))
	}
	return document
}

func (o *Config) checkMappings() error {
	for name, mappings := range map[string][]FieldMapping{"first": o.FirstFields, "refresh": o.RefreshFields} {
		paths := o.Fields.paths()
		for _, m := range mappings {
			if err := fields.CheckSource(m.From); err != nil {
				return fmt.Errorf("%s field %q: %w", name, m.Field, err)
			}
			paths = append(paths, m.Field)
		}
		if err := fields.CheckPlaces(paths); err != nil {
			return fmt.Errorf("%s fields: %w", name, err)
		}
	}
	return nil
}
