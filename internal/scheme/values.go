package scheme

import (
	"crypto/subtle"
	"net/http"
)

// Values is what a scheme makes of one credential, ready to be sent. It is never
// changed once made, and holds secrets: it is not to be printed.
type Values struct {
	scheme  *Scheme
	headers []string // one for each of scheme.headerNames
	query   string   // escaped, without a separator at its ends
}

// String keeps the secrets out of logs.
func (v *Values) String() string { return "[values]" }

// GoString keeps the secrets out of logs.
func (v *Values) GoString() string { return v.String() }

// Apply sets the values on req, whose Header, Trailer and URL must not be shared
// with anybody. First it removes what the client sent under the same names, in
// every spelling that some server may take for it: header fields and trailers
// case-insensitively and with any separator ('_' for '-'); query parameters
// percent-encoded, in any case, repeated, between '&' or ';'. The rest of the
// query stays byte for byte.
func (v *Values) Apply(req *http.Request) {
	s := v.scheme
	if len(s.headerNames) > 0 {
		if req.Header == nil {
			req.Header = make(http.Header, len(s.headerNames))
		}
		removeHeaders(req.Header, s.headerNames)
		removeHeaders(req.Trailer, s.headerNames)
		own := make([]string, len(v.headers))
		copy(own, v.headers)
		for i, name := range s.headerNames {
			req.Header[name] = own[i : i+1 : i+1]
		}
	}
	if len(s.queryNames) > 0 {
		kept := req.URL.RawQuery
		if kept != "" {
			kept = withoutQueries(kept, s.queryNames)
		}
		if kept == "" {
			req.URL.RawQuery = v.query
		} else {
			req.URL.RawQuery = kept + "&" + v.query
		}
	}
}

// Equal reports whether v and w set the same. Values of two schemes are equal if
// they set the same names to the same values.
func (v *Values) Equal(w *Values) bool {
	if v == nil || w == nil {
		return v == w
	}
	equal := len(v.headers) == len(w.headers) && sameSecret(v.query, w.query)
	for i := 0; equal && i < len(v.headers); i++ {
		equal = v.scheme.headerNames[i] == w.scheme.headerNames[i] && sameSecret(v.headers[i], w.headers[i])
	}
	return equal
}

func sameSecret(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
