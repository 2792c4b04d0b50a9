package connect

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
)

// maxForm bounds a form in bytes.
const maxForm = 4 << 10

// checkOrigin lets a form be sent by our own pages alone. A browser that says where a
// request comes from in neither way is left to the form's token.
func (f *Flow) checkOrigin(r *http.Request) error {
	if sites := r.Header.Values("Sec-Fetch-Site"); len(sites) > 0 {
		if len(sites) == 1 && sites[0] == "same-origin" {
			return nil
		}
		return ErrCrossSite
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return nil
	}
	ours := slices.ContainsFunc(f.redirects, func(at *redirect) bool {
		u, err := url.Parse(origins[0])
		return err == nil && u.Scheme == at.scheme && normalHost(u.Scheme, u.Host) == at.host
	})
	if len(origins) == 1 && ours {
		return nil
	}
	return ErrCrossSite
}

// readForm reads the form of the page. The error is an [ErrMalformed].
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("%w: its form cannot be read", ErrMalformed)
	}
	return r.PostForm, nil
}
