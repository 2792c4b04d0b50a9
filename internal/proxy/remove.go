package proxy

import (
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// sentHeader returns what of a request's header is sent, in a new map: not the fields that
// schemes set, in every spelling that some server may take for one (case-insensitively and
// with any separator, '_' for '-'), nor what is not for the upstream.
func (s *Settings) sentHeader(req *http.Request) http.Header {
	names := s.Provider.Names().Header
	header := make(http.Header, len(req.Header)+len(names))
	cookies, forwards := s.cookiesPass(), s.PassForwarded || s.isNear(req.URL.Host)
	for key, values := range req.Header {
		if equalsAny(key, names) || !cookies && key == "Cookie" || !forwards && isForwarding(key) {
			continue
		}
		header[key] = values
	}
	for _, name := range s.NamedBy.Cookies {
		removeCookie(header, name)
	}
	if s.ScrubBodies {
		header["Accept-Encoding"] = []string{"identity"} // In a compressed body nothing is found.
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
