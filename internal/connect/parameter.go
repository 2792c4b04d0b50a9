package connect

import (
	"fmt"
	"net/http"
	"net/url"
)

// maxQuery bounds a request's query in bytes.
const maxQuery = 16 << 10

// parameters returns the parameters of r, each of the names at most once (RFC 6749
// section 3.1). The error is an [ErrMalformed].
func parameters(r *http.Request, names ...string) (url.Values, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, fmt.Errorf("%w: its query is longer than %d bytes", ErrMalformed, maxQuery)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: its query cannot be read", ErrMalformed)
	}
	for _, name := range names {
		if len(query[name]) > 1 {
			return nil, fmt.Errorf("%w: %s is there twice", ErrMalformed, name)
		}
	}
	return query, nil
}
