package proxy

import (
	"maps"
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// withoutHeaders returns a new map with the fields of from but those of one of names, in
// every spelling that some server may take for it: case-insensitively and with any
// separator ('_' for '-').
func withoutHeaders(from http.Header, names []string) http.Header {
	header := maps.Clone(from)
	if header == nil {
		header = make(http.Header, len(names))
	}
	for key := range from {
		if equalsAny(key, names) {
			delete(header, key)
		}
	}
	return header
}

func equalsAny(key string, names []string) bool {
	for _, name := range names {
		if upstream.EqualHeaderName(key, name) {
			return true
		}
	}
	return false
}

// withoutParameters returns query without the parameters that some server may take
// for one of names: in percent-encoding, in another case, between '&' or ';'. All
// other bytes stay.
func withoutParameters(query string, names []string) string {
	if query == "" || len(names) == 0 {
		return query
	}
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
