package jwt

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// object is a JSON object that is to be filled in.
type object map[string]*member

// member is an object, or has one value, or several, which are an array.
type member struct {
	values []*template.Template
	object object
}

// add adds a claim.
func (o object) add(f Field) error {
	names := splitName(f.Name)
	for i, name := range names {
		if name == "" {
			return errors.New("a claim has no name, or a part of its name is empty")
		}
		m := o[name]
		last := i == len(names)-1
		switch {
		case m == nil && last:
			m = new(member)
		case m == nil:
			m = &member{object: make(object)}
		case last == (m.object != nil):
			return fmt.Errorf("claim %s is both a value and an object", f.Name)
		}
		o[name] = m
		if last {
			m.values = append(m.values, f.Value)
		}
		o = m.object
	}
	return nil
}

// splitName splits a name at each dot that has no '\' before it.
func splitName(name string) []string {
	parts := []string{""}
	for i := 0; i < len(name); i++ {
		last := &parts[len(parts)-1]
		switch c := name[i]; {
		case c == '\\' && i+1 < len(name):
			i++
			*last += name[i : i+1]
		case c == '.':
			parts = append(parts, "")
		default:
			*last += name[i : i+1]
		}
	}
	return parts
}

// execute fills o in from a credential. The error is a [credential.FieldError].
func (o object) execute(c *credential.Credential) (map[string]any, error) {
	filled := make(map[string]any, len(o)+4)
	for name, m := range o {
		if m.object != nil {
			inner, err := m.object.execute(c)
			if err != nil {
				return nil, err
			}
			filled[name] = inner
			continue
		}
		values := make([]json.RawMessage, len(m.values))
		for i, value := range m.values {
			var err error
			if values[i], err = value.ExecuteJSON(c); err != nil {
				return nil, err
			}
		}
		if filled[name] = values; len(values) == 1 {
			filled[name] = values[0]
		}
	}
	return filled, nil
}
