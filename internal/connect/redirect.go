package connect

import (
	"net/http"
	"net/url"
	"strings"
)

// startPage is the start page's name, a sibling of the redirect URI.
const startPage = "/connect"

// redirect is a redirect URI and its start page.
type redirect struct {
	uri    string
	scheme string
	host   string // as normalHost has it
	path   string
	start  string // path of the start page
	secure bool   // https, as the browser sees it
}

// newRedirect takes what Validate has let pass.
func newRedirect(uri string) (*redirect, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	return &redirect{
		uri:    uri,
		scheme: u.Scheme,
		host:   normalHost(u.Scheme, u.Host),
		path:   u.Path,
		start:  u.Path[:strings.LastIndexByte(u.Path, '/')] + startPage,
		secure: u.Scheme == "https",
	}, nil
}

func (r *redirect) startURL() string { return r.scheme + "://" + r.host + r.start }

// step is what a request asks for.
type step int

const (
	foreign step = iota
	starting
	comingBack
)

func (s step) String() string {
	if s == starting {
		return "start"
	}
	return "callback"
}

// methods are those that a step takes.
func (s step) methods() []string {
	if s == starting {
		return []string{http.MethodGet, http.MethodPost}
	}
	return []string{http.MethodGet}
}

// find tells what r asks for and at which redirect URI: of those with its path the
// one with its host, or else the first, since a proxy may have changed the host.
func (f *Flow) find(r *http.Request) (at *redirect, s step) {
	path := r.URL.EscapedPath()
	for _, candidate := range f.redirects {
		var asked step
		switch path {
		case candidate.start:
			asked = starting
		case candidate.path:
			asked = comingBack
		}
		if asked == foreign || asked == comingBack && f.config.Form != nil { // from where nobody comes back
			continue
		}
		if at == nil {
			at, s = candidate, asked
		}
		if candidate.host == normalHost(candidate.scheme, r.Host) {
			return candidate, asked
		}
	}
	return at, s
}
