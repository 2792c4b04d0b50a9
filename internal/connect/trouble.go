package connect

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// trouble is what a person is told of what they filled in.
type trouble struct {
	Path string // of the field; empty: it is not about one
	Text string
}

// troubles tell what causes mean, by place and rule: never a value, nor an answer's text.
func (f *Flow) troubles(causes []error) (told []trouble) {
	for _, cause := range causes {
		t := trouble{Text: f.inWords(cause)}
		if path, text := placeOf(cause); text != "" && f.config.Form.Field(path) != nil {
			t = trouble{Path: path, Text: f.config.Form.Field(path).Label + " " + text + "."}
		}
		told = append(told, t)
	}
	return told
}

// placeOf returns which field breaks what, and no text if no one field does.
func placeOf(cause error) (path, text string) {
	if broken, ok := errors.AsType[*credential.SchemaError](cause); ok {
		return strings.Join(broken.Location, "."), ruleText(broken.Rule)
	}
	if field, ok := errors.AsType[*credential.FieldError](cause); ok {
		return field.Path, field.Reason
	}
	return "", ""
}

// ruleText says what it means to break a rule of a schema.
func ruleText(rule string) string {
	switch rule {
	case "required":
		return "is missing"
	case "minLength":
		return "is too short"
	case "maxLength":
		return "is too long"
	case "pattern", "format":
		return "does not look as it has to"
	case "type":
		return "is not a number, or not a whole one"
	case "enum", "const":
		return "is not one of the choices"
	case "minimum", "exclusiveMinimum":
		return "is too small"
	case "maximum", "exclusiveMaximum":
		return "is too large"
	default:
		return fmt.Sprintf("breaks the rule %q", rule)
	}
}

// inWords says what a cause means that is not about one field.
func (f *Flow) inWords(cause error) string {
	_, spent := errors.AsType[*budget.Error](cause)
	test, tested := errors.AsType[*upstream.TestError](cause)
	switch {
	case spent:
		return "Too much is under way at the moment. Please try again in a minute."
	case tested && test.Status == 0:
		return fmt.Sprintf("It was not stored, as it could not be tried: %s did not answer. If what you entered says where it is, check that; else try again later.", f.config.Provider)
	case tested && !test.Rejected():
		return fmt.Sprintf("It was not stored, as it could not be tried: %s answered %d, which is not about what you entered. Please try again later.", f.config.Provider, test.Status)
	case tested && test.Err == nil && test.Status == http.StatusForbidden:
		return fmt.Sprintf("%s answered 403 when it was tried. It may lack a permission, or be for another account.", f.config.Provider)
	case tested:
		return fmt.Sprintf("%s answered %d when it was tried. Check that it is complete, for the right account, and neither expired nor withdrawn.", f.config.Provider, test.Status)
	case errors.Is(cause, credential.ErrInvalid):
		return "What you entered does not fit together. If you cannot see why, ask whoever sent you the link."
	default:
		return "It could not be stored. Please try again later."
	}
}
