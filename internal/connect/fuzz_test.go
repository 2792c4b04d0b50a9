package connect

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A link and a state that open with a key of zeros, until the year 2100. They are
// the same in each process, so that it is they that are mutated.
const (
	goodLink  = "bMBfK0pt54_xid7xlBtADMXD0KWuwAL18CwUqVoxN2x0bZvbyx2YkFZtUcGZjWVASGDIDL5_6LFNDUbbXIrv4vSRv4823vntjjYO467F4b9o15qGm7OrTaCBlLOfKLlqU4Wrc-dAgZBLO8cWlcXISk5bes9wERA0IA"
	goodState = "KEY7Qa2NLs_tmNoCdCSW2foLNEqgd1Ik637sWkdLShD28jv2gnEkTIItFhC7s-P-xaFZnwPYQr91zP2VCuzu1-wPUTNnCXJjWdWJZw2jdCVjj6OPPVHxngaDIkES0J_WMzzn-56ydrQnfwFq5OQpkN0Bu-U41Ub2Vmk2EO-TUG07qQ96CF6hDn9-tjVfXSHwbFYpsfliSTbuMwhlwBdy5zEMsniaBFTm0iEN5M7n5oHYAZolBIAAxpvZLKTmmW80oswWygXNIqZ4HlwL8JP5HEThgrCgmKkUVE8tz1VAhn_MyOfkNNyAtcTsSCAKkcUuQ2lbueCKHz5G5h4zhrGbicDinetSJPXkIyBz_Oa9etjE9Hsvf76urc-xCQYK5QUM3XeJUhWHMRswAKPTiU87Zxi-UK9__beAHo3AiZRDigkyuGqCeowC2oGTwVyafE1VjtEGrh3boNP6jsmOHEHzq2lFvAao98WUxdw9AJGIOpxCE-lf_aXPjEsmHshPXiOWiDVy-52_Gw"
)

func newFuzzed(f *testing.F) *Flow {
	f.Helper()
	c := newConfig(f)
	c.Issuer, c.AuthorizationURL = "", "https://as.example/authorize"
	c.Transport = roundTripper(nil) // nobody is to be asked
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
		l, err := flow.openLink(t.Context(), sealed)
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
	f.Add("/oauth/connect", "link="+goodLink, "a=b")
	f.Add("/oauth/connect", "link=abcdefgh", "a=b")
	f.Add("/oauth/callback", "state="+goodState+"&code=abcdefgh", "")
	f.Add("/oauth/callback", "error=access_denied&state=abcdefgh", "__Host-upstream_auth_connect_x=y")
	f.Add("/oauth/callback", "code=%zz", ";")
	f.Fuzz(func(t *testing.T, path, query, cookie string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://connect.example/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		if !flow.ServeHTTP(w, r) {
			if path == "/oauth/connect" || path == "/oauth/callback" {
				t.Errorf("%s is not handled", path)
			}
			return
		}
		if w.Code == http.StatusSeeOther && path == "/oauth/connect" && strings.Contains(query, goodLink[:20]) {
			return // a link that opens is the only thing that leads on
		}
		if w.Code < 400 || w.Header().Get("Location") != "" {
			t.Errorf("answered %d", w.Code)
		}
		known := false
		for _, n := range append(notices, struct {
			err error
			notice
		}{nil, failed}) {
			page := httptest.NewRecorder()
			writePage(page, n.notice)
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
