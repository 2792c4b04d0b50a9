package scheme

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Query is a parameter of the query that carries Value.
type Query struct {
	Name  string
	Value *Template
}

func (q Query) check() error {
	if q.Name == "" {
		return errors.New("query parameter has no name")
	}
	if reason := validText(q.Name); reason != "" {
		return fmt.Errorf("name of query parameter %q %s", q.Name, reason)
	}
	if q.Value == nil || len(q.Value.parts) == 0 {
		return fmt.Errorf("query parameter %s has no value", q.Name)
	}
	if err := q.Value.checkLiterals(validText); err != nil {
		return fmt.Errorf("query parameter %s: %w", q.Name, err)
	}
	return nil
}

// validText is the rule for what is escaped before it is sent: any text at all.
func validText(value string) string {
	switch {
	case value == "":
		return "is empty"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	}
	return ""
}

// withoutQueries returns query without the parameters that some server may take
// for one of names: in percent-encoding, in another case, between '&' or ';'. All
// other bytes stay.
func withoutQueries(query string, names []string) string {
	var kept []byte
	copied := 0 // query[:copied] is in kept or was removed
	for start := 0; start <= len(query); {
		end := len(query)
		if i := strings.IndexAny(query[start:], "&;"); i >= 0 {
			end = start + i
		}
		if namesParameter(query[start:end], names) {
			kept = append(kept, query[copied:start]...)
			// With its own separator, or as the last one with that before it.
			copied = end + 1
			if end == len(query) {
				copied = end
				if len(kept) > 0 {
					kept = kept[:len(kept)-1]
				}
			}
		}
		start = end + 1
	}
	if copied == 0 {
		return query
	}
	return string(append(kept, query[copied:]...))
}

// namesParameter reports whether a part of a query is a parameter of one of names.
func namesParameter(segment string, names []string) bool {
	name, _, _ := strings.Cut(segment, "=")
	if strings.ContainsAny(name, "%+") {
		name = unescapeName(name)
	}
	for _, n := range names {
		if strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

// unescapeName undoes percent-encoding as lenient servers do: what is no escape
// stands for itself.
func unescapeName(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// parameter is name=value, escaped.
func parameter(name, value string) string {
	return url.QueryEscape(name) + "=" + url.QueryEscape(value)
}
