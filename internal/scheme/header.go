package scheme

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// maxValueLength bounds a header value, query value, user name or password in
// bytes. It is more than servers commonly take for all headers together.
const maxValueLength = 16 << 10

// Header is a header field that carries Value.
type Header struct {
	Name  string
	Value *Template
}

// notSettable are the fields that frame the message or belong to the connection
// (RFC 9110 section 7.6.1, RFC 9112 section 6). Setting one would change what the
// request is, not who makes it.
var notSettable = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te",
	"Keep-Alive", "Proxy-Connection", "Expect",
}

func (h Header) check() error {
	if !httpguts.ValidHeaderFieldName(h.Name) {
		return fmt.Errorf("%q is not a valid header name", h.Name)
	}
	for _, name := range notSettable {
		if spelledAlike(h.Name, name) {
			return fmt.Errorf("header %s cannot be set", name)
		}
	}
	if h.Value == nil || len(h.Value.parts) == 0 {
		return fmt.Errorf("header %s has no value", h.Name)
	}
	if err := h.Value.checkLiterals(validHeaderText); err != nil {
		return fmt.Errorf("header %s: %w", h.Name, err)
	}
	return nil
}

// validHeader is the rule for a field of the credential that goes into a header.
func validHeader(value string) string {
	if strings.Trim(value, " \t") == "" {
		return "is empty"
	}
	return validHeaderText(value)
}

// validHeaderText is the rule for text that is part of a header's value (RFC 9110
// section 5.5).
func validHeaderText(value string) string {
	switch {
	case !httpguts.ValidHeaderFieldValue(value):
		return "has a control character in it"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	}
	return ""
}

// spelledAlike reports whether a server may take the header names a and b for
// the same: letters of either case, and any other character for any other, since
// CGI and what descends from it knows only '_'.
func spelledAlike(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldName(a[i]) != foldName(b[i]) {
			return false
		}
	}
	return true
}

func foldName(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	default:
		return '_'
	}
}

// spelledLikeAny reports whether a server may take key for one of names.
func spelledLikeAny(key string, names []string) bool {
	for _, name := range names {
		if spelledAlike(key, name) {
			return true
		}
	}
	return false
}
