package proxy

import (
	"net/http"
	"strings"
)

// refused reports whether res says that the credential is what it did not like.
func (x *Exchange) refused(res *http.Response) bool {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return false
	case x.RefreshOn == nil && res.StatusCode != http.StatusUnauthorized,
		x.RefreshOn != nil && !x.RefreshOn(res.StatusCode, res.Header):
		return false
	}
	return !insufficientScope(res.Header) && !speaksForUs(res.Header)
}

// insufficientScope reports whether a challenge of WWW-Authenticate says that the
// token was good but does not go far enough (RFC 6750, section 3.1), which a new
// one would not change.
func insufficientScope(header http.Header) bool {
	for _, line := range header["Www-Authenticate"] {
		for line != "" {
			var name, value string
			name, value, line = nextAuthParam(line)
			if strings.EqualFold(name, "error") && value == "insufficient_scope" {
				return true
			}
		}
	}
	return false
}

// nextAuthParam reads the first word of a list of challenges (RFC 9110, section
// 11.6.1) and returns what follows it. The word is a parameter if it has a value;
// the names of schemes, token68 credentials and whatever else is there come with an
// empty one. Servers are careless with the commas, so spaces separate as well.
func nextAuthParam(line string) (name, value, rest string) {
	line = strings.TrimLeft(line, " \t,")
	end := strings.IndexAny(line, " \t,=\"")
	if end < 0 {
		return line, "", ""
	}
	name, rest = line[:end], strings.TrimLeft(line[end:], " \t")
	if rest == "" || rest[0] != '=' {
		if rest != "" && rest[0] == '"' { // A string that is nobody's value.
			_, rest = quotedString(rest)
		}
		return name, "", rest
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if rest != "" && rest[0] == '"' {
		value, rest = quotedString(rest)
		return name, value, rest
	}
	end = strings.IndexAny(rest, " \t,")
	if end < 0 {
		return name, rest, ""
	}
	return name, rest[:end], rest[end:]
}

// quotedString reads the string that s begins with (RFC 9110, section 5.6.4). One
// that does not end is empty and takes all.
func quotedString(s string) (value, rest string) {
	var unescaped []byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && unescaped == nil:
			return s[1:i], s[i+1:]
		case c == '"':
			return string(unescaped), s[i+1:]
		case c == '\\':
			if unescaped == nil {
				unescaped = append(make([]byte, 0, len(s)), s[1:i]...)
			}
			if i++; i < len(s) {
				unescaped = append(unescaped, s[i])
			}
		case unescaped != nil:
			unescaped = append(unescaped, c)
		}
	}
	return "", ""
}
