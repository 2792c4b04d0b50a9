package connect

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// front stands between browsers and Caddy, as a balancer does: its addresses are
// there before any Caddy is, and lead to one or another. It learns what browsers
// carry and nobody else is to see.
type front struct {
	plain, secure *httptest.Server // for http and for https
	secrets       *canary.Collector
	target        atomic.Pointer[url.URL]
}

func newFront(t *testing.T) *front {
	f := new(front)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			f.learn(r.In.URL.String())
			for _, cookie := range r.In.Cookies() {
				f.add("a cookie", cookie.Value)
			}
			r.SetURL(f.target.Load())
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(res *http.Response) error {
			f.learn(res.Header.Get("Location"))
			return nil
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	f.plain, f.secure = httptest.NewServer(proxy), httptest.NewTLSServer(proxy)
	t.Cleanup(f.plain.Close)
	t.Cleanup(f.secure.Close)
	return f
}

// leadTo has the front lead to the sidecar of w.
func (f *front) leadTo(w *world.World) {
	f.target.Store(&url.URL{Scheme: "http", Host: w.Caddy.Address})
}

// addresses are all that a path has.
func (f *front) addresses(path string) []string {
	return []string{f.plain.URL + path, onLocalhost(f.plain.URL) + path, f.secure.URL + path}
}

// redirectURIs are the redirect URIs of all providers.
func (f *front) redirectURIs() []string {
	var all []string
	for _, provider := range providers {
		all = append(all, f.addresses(callback(provider))...)
	}
	return all
}

// learn notes what is secret in the query of an address.
func (f *front) learn(address string) {
	u, err := url.Parse(address)
	if err != nil {
		return
	}
	for _, name := range []string{"link", "state", "code"} {
		for _, value := range u.Query()[name] {
			f.add("a "+name, value)
		}
	}
}

// add leaves out what is too short to be more than a test's nonsense.
func (f *front) add(name, value string) {
	if len(value) >= 20 {
		f.secrets.Add(name, value)
	}
}
