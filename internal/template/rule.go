package template

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// MaxLength bounds the text that a template makes, in bytes. It is more than servers
// commonly take for all headers together.
const MaxLength = 16 << 10

// Rule returns what is wrong with a field's value, for a [credential.FieldError], or ""
// if nothing is.
type Rule func(value string) string

// NotEmpty is the [Rule] for what has to be there.
func NotEmpty(value string) string {
	if value == "" {
		return "is empty"
	}
	return ""
}

// Text is the [Rule] for what is escaped before it is sent: any text at all.
func Text(value string) string {
	switch {
	case value == "":
		return "is empty"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	}
	return ""
}

// Header is the [Rule] for a field of the credential that goes into a header.
func Header(value string) string {
	if strings.Trim(value, " \t") == "" {
		return "is empty"
	}
	return HeaderText(value)
}

// HeaderText is the [Rule] for text that is part of a header's value (RFC 9110 section
// 5.5).
func HeaderText(value string) string {
	switch {
	case !httpguts.ValidHeaderFieldValue(value):
		return "has a control character in it"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	}
	return ""
}

// BasicUser is the [Rule] for user names: RFC 7617 section 2 takes the first colon for the
// end of the name, and allows no control characters.
func BasicUser(value string) string {
	if strings.Contains(value, ":") {
		return "has a colon in it, which a user name cannot have"
	}
	if value == "" {
		return "is empty"
	}
	return NoControl(value)
}

// NoControl is the [Rule] for text without control characters, which may be empty.
func NoControl(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has a control character in it"
	}
	if !utf8.ValidString(value) {
		return "is not UTF-8"
	}
	return ""
}
