package connect

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// A link and a state that open with a key of zeros, until the year 2100. They are
// the same in each process, so that it is they that are mutated.
const (
	goodKeys  = `{"keys":[{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","made":"2100-01-01T00:00:00Z"}]}`
	goodID    = "AAAAAAAAAAAAAAAAAAAAAAAAAA" // the link's
	goodLink  = "wL0ENLFEAhgS-5alBgvYriGKu1vLWMhATxEIFTbHecFbSHXPgEL88-OD6tQ7jkveNXPxRUEYFIOQTke5Y8GHDbOg-mKloETkN_l5k9xUCUNs7gwnTW08bKVtJ-mYa_nGLwu12CUjM3lmDuQ6SqeuodqlP6__AZBeZWujHvBrUX6XdvNqaj0"
	goodState = "7nKrXfaLG6h_zUSA1yYfwPW5xFJZneAut2TUaPv3K72ZulVU7bokJ65IdYZtJDB3Q5BbY7VAk-9Sc-rHhZTO4A2yb6ZqCGeVL1XRaWQPvxFSxlXrOswNCLcSZZ8fy6Ri2QXPB8UwMA4gaKP3Wf0y_Yr0gC6Worjv2SB1AHagBAxFQYOaAj_XV7MT3lNypllx13qd-YPoT8KdzuERcQtBZqRpvlLdkncX7EXdn7irM7v46JI_NOzzFjleyyHhRXhpN0zi4hRmYzuURMLZKjDG7N56bpD2TIAOfg_iec6vKRF06q-Q2iUazYU7rbAuQqiXoswOHK55bpwjgs1BoIsIqZIglvr1oRhkKaX2pRtiu70GRUqjneKqQQTac8dhFnzFDshWw8r7hq93us73yxAgdg1apYpCq88kvx5UPjGi3tVnzO_glbltou8mrALq0HcsaXtDFFPcC7i73P2ymfNrrPlQAQHORXVX2HC3Etu50hwqtUjS3uXUzrnj5mMEIEKjNAzI-ZtkBlQO1OSkpyqCplxMFQ"
)

func newFuzzed(f *testing.F) *Flow {
	f.Helper()
	c := newConfig(f)
	c.Issuer, c.AuthorizationURL = "", literal("https://as.example/authorize")
	c.Transport = roundTripper(nil) // nobody is to be asked
	store := storetest.NewMemory()
	if _, err := store.Put(f.Context(), credential.LinksKey(), []byte(goodKeys), 0); err != nil {
		f.Fatal(err)
	}
	c.Links = links.New(store)
	if err := c.Links.Add(f.Context(), credential.Key{Provider: "crm", Tenant: "acme"}, goodID, links.Link{Expires: time.Now().Add(time.Hour)}); err != nil {
		f.Fatal(err)
	}
	flow, err := New(c)
	if err != nil {
		f.Fatal(err)
	}
	return flow
}

func FuzzOpenLink(f *testing.F) {
	flow := newFuzzed(f)
	f.Add(goodLink)
	f.Add(goodState)
	f.Add(goodLink[1:])
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://connect.example/?link="+url.QueryEscape(sealed), nil)
		l, _, err := flow.openLink(r)
		if (err == nil) != (sealed == goodLink) {
			t.Errorf("%q: %v, %v", sealed, l, err)
		}
	})
}

func FuzzOpenState(f *testing.F) {
	flow := newFuzzed(f)
	f.Add(goodState)
	f.Add(goodLink)
	f.Add(goodState + "\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		s, err := flow.openState(t.Context(), sealed)
		if (err == nil) != (sealed == goodState) {
			t.Errorf("%q: %v, %v", sealed, s, err)
		}
	})
}

// FuzzRequests looks for a request that a page repeats something of, or that goes
// on without a browser's cookie.
func FuzzRequests(f *testing.F) {
	flow := newFuzzed(f)
	f.Add("GET", "/oauth/connect", "link="+goodLink, "a=b", "")
	f.Add("POST", "/oauth/connect", "link="+goodLink, "a=b", "form=x")
	f.Add("GET", "/oauth/connect", "link=abcdefgh", "a=b", "")
	f.Add("GET", "/oauth/callback", "state="+goodState+"&code=abcdefgh", "", "")
	f.Add("GET", "/oauth/callback", "error=access_denied&state=abcdefgh", "__Host-upstream_auth_connect_x=y", "")
	f.Add("GET", "/oauth/callback", "code=%zz", ";", "")
	f.Fuzz(func(t *testing.T, method, path, query, cookie, form string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://connect.example/", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		if !flow.ServeHTTP(w, r) {
			if path == "/oauth/connect" || path == "/oauth/callback" {
				t.Errorf("%s is not handled", path)
			}
			return
		}
		if w.Code == http.StatusOK && method == http.MethodGet && path == "/oauth/connect" && strings.Contains(query, goodLink[:20]) {
			return // a link that opens is the only thing that asks
		}
		if w.Code < 400 || w.Header().Get("Location") != "" {
			t.Errorf("answered %d", w.Code)
		}
		known := false
		pages := []notice{failed, tooMany, methodNotAllowed}
		for _, n := range notices {
			pages = append(pages, n.notice)
		}
		for _, n := range pages {
			page := httptest.NewRecorder()
			writePage(page, n)
			known = known || page.Body.String() == w.Body.String()
		}
		if !known {
			t.Errorf("page %s", w.Body)
		}
	})
}

// FuzzReturnTo looks for an allowed address that leads out of its place.
func FuzzReturnTo(f *testing.F) {
	c := newConfig(f)
	c.ReturnTo = []string{"https://app.example/t/"}
	flow, err := New(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("https://app.example/t/7?x=y")
	f.Add("https://app.example/t/../x")
	f.Add("https://app.example\\@evil.example/t/")
	f.Fuzz(func(t *testing.T, address string) {
		if !flow.mayReturnTo(address) {
			return
		}
		got := withStatus(address, "success")
		u, err := url.Parse(got)
		if err != nil || !strings.EqualFold(strings.TrimSuffix(u.Host, ":443"), "app.example") || u.Scheme != "https" || u.User != nil ||
			!strings.HasPrefix(u.ResolveReference(&url.URL{Path: u.Path}).Path, "/t/") || u.Query().Get("status") != "success" ||
			strings.ContainsAny(got, "\r\n\\") {
			t.Errorf("%q leads to %q", address, got)
		}
	})
}
