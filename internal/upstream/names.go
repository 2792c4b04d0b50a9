package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// notSettable are the fields that frame the message or belong to the connection
// (RFC 9110 section 7.6.1, RFC 9112 section 6). Setting one would change what the
// request is, not who makes it.
var notSettable = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te",
	"Keep-Alive", "Proxy-Connection", "Expect",
}

// cookie is the one field that several schemes may set: each adds to it.
const cookie = "Cookie"

// namesOf returns what schemes set, or what is wrong with it.
func namesOf(schemes []scheme.Scheme) (all scheme.Names, err error) {
	for _, s := range schemes {
		names := s.Names()
		for _, name := range names.Header {
			if all.Header, err = addHeader(all.Header, name); err != nil {
				return all, err
			}
		}
		for _, name := range names.Query {
			if name == "" {
				return all, errors.New("query parameter has no name")
			}
			for _, other := range all.Query {
				if strings.EqualFold(other, name) {
					return all, fmt.Errorf("query parameter %s is set twice", name)
				}
			}
			all.Query = append(all.Query, name)
		}
	}
	return all, nil
}

func addHeader(names []string, name string) ([]string, error) {
	if !httpguts.ValidHeaderFieldName(name) {
		return nil, fmt.Errorf("%q is not a valid header name", name)
	}
	for _, other := range notSettable {
		if EqualHeaderName(name, other) {
			return nil, fmt.Errorf("header %s cannot be set", other)
		}
	}
	name = http.CanonicalHeaderKey(name)
	for _, other := range names {
		switch {
		case name == cookie && other == cookie:
			return names, nil
		case EqualHeaderName(other, name):
			return nil, fmt.Errorf("header %s is set twice", name)
		}
	}
	return append(names, name), nil
}

// EqualHeaderName reports whether a server may take the header names a and b for
// the same: letters of either case, and any other character for any other, since
// CGI and what descends from it knows only '_'.
func EqualHeaderName(a, b string) bool {
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
