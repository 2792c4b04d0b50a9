package connect

import (
	"cmp"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

const (
	// maxForm bounds a form in bytes.
	maxForm = 4 << 10

	// maxFilledIn bounds one for a credential, in which may be a key with its certificates.
	maxFilledIn = 64 << 10
)

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

// posted is the form of a link's page that came back from the browser that was shown it.
type posted struct {
	*link
	query   url.Values // of the link's address
	code    string     // for the handoff
	browser string     // its cookie
	values  url.Values
}

// takeForm takes the form of a page that ask has shown, of at most limit bytes.
func (f *Flow) takeForm(w http.ResponseWriter, r *http.Request, at *redirect, limit int64) (*posted, error) {
	if err := f.checkOrigin(r); err != nil {
		return nil, err
	}
	form, err := readForm(w, r, limit)
	if err != nil {
		return nil, err
	}
	l, query, err := f.openLink(r)
	if err != nil {
		return nil, err
	}
	p := &posted{link: l, query: query, code: cmp.Or(query.Get("handoff"), form.Get("handoff")), browser: at.readCookie(r, l), values: form}
	if p.browser == "" || !links.Matches(form.Get("form"), "form", p.browser, l.ID) {
		return nil, ErrOtherBrowser
	}
	return p, nil
}

// readForm reads the form of the page. The error is an [ErrMalformed].
func readForm(w http.ResponseWriter, r *http.Request, limit int64) (url.Values, error) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("%w: its form cannot be read", ErrMalformed)
	}
	return r.PostForm, nil
}
