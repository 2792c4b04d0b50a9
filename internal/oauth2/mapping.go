package oauth2

import (
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
)

// CheckMappings reports whether mappings from other objects than the token
// response, as an id token, are well formed, and whether each writes to a place of
// its own, apart from those of the tokens and of FirstFields.
func (o *Config) CheckMappings(lists ...[]FieldMapping) error {
	paths := o.Fields.paths()
	for _, m := range o.FirstFields {
		paths = append(paths, m.Field)
	}
	for _, list := range lists {
		for _, m := range list {
			if err := fields.CheckSource(m.From); err != nil {
				return fmt.Errorf("field %q: %w", m.Field, err)
			}
			paths = append(paths, m.Field)
		}
	}
	return fields.CheckPlaces(paths)
}
