package template

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// filter makes another text of a field's, or says why it cannot, for a
// [credential.FieldError]. The argument is what stands behind the filter's colon.
type filter func(value, argument string) (text, wrong string)

// filters may follow a field's path, each behind a '|': {credential.key|unhex}. What else
// follows a '|' belongs to the path.
var filters = map[string]filter{
	"base64":    always(func(v string) string { return base64.StdEncoding.EncodeToString([]byte(v)) }),
	"base64url": always(func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }),
	"hex":       always(func(v string) string { return hex.EncodeToString([]byte(v)) }),
	"lower":     always(strings.ToLower),
	"upper":     always(strings.ToUpper),
	"urlencode": always(func(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") }),
	"unbase64":  unbase64,
	"unhex":     unhex,
	"before":    before,
	"after":     after,
}

// filterDefault gives a field a value that is missing, null or empty.
const filterDefault = "default"

// takesArgument are the filters that need one.
func takesArgument(name string) bool {
	return name == "before" || name == "after" || name == filterDefault
}

func always(f func(string) string) filter {
	return func(value, _ string) (string, string) { return f(value), "" }
}

// unbase64 takes both alphabets of RFC 4648, with and without padding, and line breaks.
func unbase64(value, _ string) (text, wrong string) {
	plain := strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(value)
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(plain, "="))
	if err != nil {
		return "", "is not base64"
	}
	return string(decoded), ""
}

func unhex(value, _ string) (text, wrong string) {
	decoded, err := hex.DecodeString(value)
	if err != nil {
		return "", "is not hexadecimal"
	}
	return string(decoded), ""
}

func before(value, separator string) (text, wrong string) {
	text, _, found := strings.Cut(value, separator)
	if !found {
		return "", fmt.Sprintf("has no %q in it", separator)
	}
	return text, ""
}

func after(value, separator string) (text, wrong string) {
	_, text, found := strings.Cut(value, separator)
	if !found {
		return "", fmt.Sprintf("has no %q in it", separator)
	}
	return text, ""
}

// step is a filter with its argument.
type step struct {
	apply    filter
	argument string
}

// parseField reads what stands behind "credential." in a placeholder: a path and the
// filters behind it.
func parseField(text string) (part, error) {
	p := part{path: text, written: text}
	var words []string // of the filters, the last one first
	for {
		bar := lastBar(p.path)
		if bar < 0 || !isFilter(p.path[bar+1:]) {
			break
		}
		words = append(words, p.path[bar+1:])
		p.path = p.path[:bar]
	}
	if p.path == "" {
		return part{}, fmt.Errorf("placeholder {%s%s} names no field", credentialPrefix, text)
	}
	for i := len(words) - 1; i >= 0; i-- {
		if err := p.add(words[i]); err != nil {
			return part{}, fmt.Errorf("placeholder {%s%s}: %w", credentialPrefix, text, err)
		}
	}
	return p, nil
}

// add adds a filter, as it is written.
func (p *part) add(word string) error {
	name, argument, _ := strings.Cut(word, ":")
	argument, err := unescape(argument)
	switch {
	case err != nil:
		return fmt.Errorf("filter %s: %w", name, err)
	case takesArgument(name) && argument == "":
		return fmt.Errorf("filter %s needs a text behind a colon, as in %s:text", name, name)
	case !takesArgument(name) && argument != "":
		return fmt.Errorf("filter %s takes nothing behind a colon", name)
	case name == filterDefault && p.fallback != nil:
		return errors.New("filter default is given twice")
	case name == filterDefault:
		p.fallback = &argument
		return nil
	}
	next := step{filters[name], argument}
	if p.fallback != nil {
		value, wrong := next.apply(*p.fallback, argument)
		if wrong != "" {
			return fmt.Errorf("filter %s: the default %s", name, wrong)
		}
		p.fallback = &value
	}
	p.steps = append(p.steps, next)
	return nil
}

// isFilter reports whether what follows a '|' is a filter.
func isFilter(word string) bool {
	name, _, _ := strings.Cut(word, ":")
	return filters[name] != nil || name == filterDefault
}

// lastBar returns the index of the last '|' in a path that is neither escaped nor in
// quotes, parentheses, brackets or braces; -1: there is none.
func lastBar(path string) int {
	last, depth, quoted := -1, 0, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		case c == '|' && depth <= 0:
			last = i
		}
	}
	return last
}

// unescape reads a filter's argument, in which '\' stands before what would not be part
// of it otherwise.
func unescape(argument string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(argument); i++ {
		switch c := argument[i]; {
		case c == '\\' && i+1 < len(argument):
			i++
			b.WriteByte(argument[i])
		case c == '\\' || strings.IndexByte(`"()[]{}`, c) >= 0:
			return "", fmt.Errorf(`put \ before %q`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// value returns the text that a field, with its filters, becomes.
func (p *part) value(c *credential.Credential) (string, error) {
	if p.fallback != nil {
		if field := c.Get(p.path); !field.IsObject() && !field.IsArray() && field.String() == "" {
			return *p.fallback, nil
		}
	}
	value, err := c.Text(p.path)
	if err != nil {
		return "", err
	}
	for _, next := range p.steps {
		var wrong string
		if value, wrong = next.apply(value, next.argument); wrong != "" {
			return "", &credential.FieldError{Path: p.path, Reason: wrong}
		}
	}
	return value, nil
}
