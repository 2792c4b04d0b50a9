package scheme

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"slices"
)

// Values is what a scheme makes of one credential, ready to be sent. It is never
// changed once made, and holds secrets: it is not to be printed.
type Values struct {
	scheme  *Scheme
	headers []string // one for each of scheme.headerNames
	query   string   // escaped, without a separator at its ends

	// For what most schemes have, one header: there are as many Values as tenants, and
	// the collector looks at each object.
	oneHeader [1]string
}

// String keeps the secrets out of logs.
func (v *Values) String() string { return "[values]" }

// GoString keeps the secrets out of logs.
func (v *Values) GoString() string { return v.String() }

// Apply sets the values on req, in place of what the client sent under the same
// names: see [Values.Header], [Values.CleanTrailer] and [Values.Query]. Trailer and URL
// of req must not be shared with anybody; Header is replaced.
func (v *Values) Apply(req *http.Request) {
	req.Header = v.Header(req.Header)
	v.CleanTrailer(req.Trailer)
	if len(v.scheme.queryNames) > 0 {
		req.URL.RawQuery = v.Query(req.URL.RawQuery)
	}
}

// Header returns a new map with the fields of from and those of v. What from has under
// the same names is left out, in every spelling that some server may take for it:
// case-insensitively and with any separator ('_' for '-').
func (v *Values) Header(from http.Header) http.Header {
	header := maps.Clone(from)
	if header == nil {
		header = make(http.Header, len(v.headers))
	}
	names := v.scheme.headerNames
	for key := range from {
		if spelledLikeAny(key, names) {
			delete(header, key)
		}
	}
	own := slices.Clone(v.headers) // Somebody else's, should a transport write into it.
	for i, name := range names {
		header[name] = own[i : i+1 : i+1]
	}
	return header
}

// CleanTrailer deletes from trailer what [Values.Header] leaves out of a header.
func (v *Values) CleanTrailer(trailer http.Header) {
	for key := range trailer {
		if spelledLikeAny(key, v.scheme.headerNames) {
			delete(trailer, key)
		}
	}
}

// Query returns the query with the parameters of v. What it has under the same names
// is left out: percent-encoded, in any case, repeated, between '&' or ';'. The rest
// stays byte for byte.
func (v *Values) Query(query string) string {
	names := v.scheme.queryNames
	if len(names) == 0 {
		return query
	}
	if query != "" {
		query = withoutQueries(query, names)
	}
	if query == "" {
		return v.query
	}
	return query + "&" + v.query
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
