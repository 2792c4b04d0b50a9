package connect

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

func TestPersonIsAskedBeforeAnythingHappens(t *testing.T) {
	for application, want := range map[string]string{"": "<b>connect.example</b>", `Acme's <Portal>`: "<b>Acme&#39;s &lt;Portal&gt;</b>"} {
		f := newFixture(t, func(c *Config) { c.Application = application })
		link := f.link("")
		puts := f.store.Puts()
		response := f.browser.get(t, f.Flow, link)
		if response.Code != http.StatusOK || response.Header().Get("Location") != "" {
			t.Fatalf("answered %d: %v", response.Code, f.log.last())
		}
		page := response.Body.String()
		for _, part := range []string{want, "<b>as.example</b> (crm)", "<b>" + string(tenant) + "</b>", `<form method="post">`, "Go on to as.example"} {
			if !strings.Contains(page, part) {
				t.Errorf("page without %s:\n%s", part, page)
			}
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
			"X-Frame-Options":         "DENY", "Referrer-Policy": "strict-origin", "Cache-Control": "no-store",
		} {
			if got := response.Header().Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if strings.Contains(page, "<script") || strings.Contains(page, "handoff") {
			t.Errorf("page\n%s", page)
		}
		if f.store.Puts() != puts {
			t.Error("a GET wrote to the store")
		}
		if n := f.server.count("/token"); n != 0 {
			t.Errorf("%d token requests", n)
		}
	}
}

// A form counts if our own page sent it: the browser says so, or at least its cookie
// goes with what is in the form.
func TestFormsThatWereNotSentByOurPage(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*http.Request)
		err    error // nil: it goes on
	}{
		"as a browser does":         {func(*http.Request) {}, nil},
		"of another site":           {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, ErrCrossSite},
		"of a sibling host":         {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, ErrCrossSite},
		"of nobody's page":          {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, ErrCrossSite},
		"said twice":                {func(r *http.Request) { r.Header.Add("Sec-Fetch-Site", "same-origin") }, ErrCrossSite},
		"older browser":             {older("https://connect.example"), nil},
		"older browser, usual port": {older("https://CONNECT.example:443"), nil},
		"older, of another site":    {older("https://evil.example"), ErrCrossSite},
		"older, by plain http":      {older("http://connect.example"), ErrCrossSite},
		"older, of another port":    {older("https://connect.example:8443"), ErrCrossSite},
		"older, of a sandbox":       {older("null"), ErrCrossSite},
		"older, of a longer host":   {older("https://connect.example.evil.example"), ErrCrossSite},
		"browser that says nothing": {func(r *http.Request) { r.Header.Del("Sec-Fetch-Site") }, nil},
		"without the cookie":        {func(r *http.Request) { r.Header.Del("Cookie") }, ErrOtherBrowser},
		"with another cookie":       {recookie(func(string) string { return "guessed" }), ErrOtherBrowser},
		"with an empty cookie":      {recookie(func(string) string { return "" }), ErrOtherBrowser},
		"with a second cookie": {func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: r.Cookies()[0].Name, Value: "planted"})
		}, ErrOtherBrowser},
		"as JSON":              {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, ErrMalformed},
		"as plain text":        {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, ErrMalformed},
		"as a form with files": {func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, ErrMalformed},
		"with its token in the query": {func(r *http.Request) {
			r.URL.RawQuery += "&form=" + r.FormValue("form")
			r.PostForm = nil
			r.Body = http.NoBody
		}, ErrOtherBrowser},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			link := f.link("")
			token := formOf(f.browser.get(t, f.Flow, link))
			puts := f.store.Puts()
			r := httptest.NewRequestWithContext(t.Context(), "POST", link, strings.NewReader(url.Values{"form": {token}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			for name, value := range f.browser.cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			test.change(r)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if test.err == nil {
				if w.Code != http.StatusSeeOther {
					t.Errorf("answered %d: %v", w.Code, f.log.last())
				}
				return
			}
			f.wantFailure(w, test.err)
			if f.store.Puts() != puts {
				t.Error("it wrote to the store")
			}
		})
	}
}

func older(origin string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set("Origin", origin)
	}
}

func recookie(change func(string) string) func(*http.Request) {
	return func(r *http.Request) {
		name, value, _ := strings.Cut(r.Header.Get("Cookie"), "=")
		r.Header.Set("Cookie", name+"="+change(value))
	}
}

// The form of one link, or of one browser, is of no use for another.
func TestFormOfAnotherPage(t *testing.T) {
	f := newFixture(t, nil)
	link, other := f.link(""), f.link("")
	token := formOf(f.browser.get(t, f.Flow, other))
	f.browser.get(t, f.Flow, link)
	f.wantFailure(f.browser.post(t, f.Flow, link, url.Values{"form": {token}}), ErrOtherBrowser)

	attacker := newBrowser()
	token = formOf(attacker.get(t, f.Flow, link))
	f.wantFailure(f.browser.post(t, f.Flow, link, url.Values{"form": {token}}), ErrOtherBrowser)
	f.wantFailure(newBrowser().post(t, f.Flow, link, url.Values{"form": {token}}), ErrOtherBrowser)
	f.wantFailure(f.browser.post(t, f.Flow, link, url.Values{"x": {long("y", maxForm)}}), ErrMalformed)
}

func TestLinkInTwoTabs(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	first := formOf(f.browser.get(t, f.Flow, link))
	second := formOf(f.browser.get(t, f.Flow, link))
	for _, token := range []string{first, second} {
		if response := f.browser.post(t, f.Flow, link, url.Values{"form": {token}}); response.Code != http.StatusSeeOther {
			t.Errorf("answered %d: %v", response.Code, f.log.last())
		}
	}
}

// Who opens one link again and again takes nothing that others need, and is told when to
// go on.
func TestOneLinkDoesNotShutConnectingDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		link := f.link("")
		for range 70_000 / 100 {
			f.browser.get(t, f.Flow, link)
		}
		var backs []string
		for range links.MaxAttempts {
			backs = append(backs, f.server.consent(t, f.start(link)))
		}
		response := f.browser.begin(t, f.Flow, link)
		if response.Code != http.StatusTooManyRequests || response.Header().Get("Retry-After") != "600" {
			t.Errorf("answered %d, Retry-After %q", response.Code, response.Header().Get("Retry-After"))
		}
		wantPage(t, response)
		f.wantConnected(f.connect("")) // by another link
		f.accepted = nil
		for _, back := range backs[1:] {
			f.wantFailure(f.browser.get(t, f.Flow, with(t, back, func(q url.Values) { q.Set("error", "access_denied") })), ErrDeclined)
		}
		f.wantConnected(f.browser.get(t, f.Flow, backs[0]))
	})
}

func TestTenantThatHasTooManyLinks(t *testing.T) {
	f := newFixture(t, nil)
	for range links.MaxLinks {
		f.link("")
	}
	if _, err := f.Link(t.Context(), tenant, LinkOptions{}); err == nil || !strings.Contains(err.Error(), "too many links") {
		t.Errorf("error %v", err)
	}
	if _, err := f.Link(t.Context(), "globex", LinkOptions{}); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}

// Every replica knows what was used and what was withdrawn.
func TestOtherReplicas(t *testing.T) {
	f := newFixture(t, nil)
	other := f.newFlow(nil)
	link := f.link("")
	late := f.server.consent(t, f.start(link))
	back := f.server.consent(t, f.start(link))
	cookies := f.browser.cookies
	f.browser.cookies = map[string]string{}
	for name, value := range cookies {
		f.browser.cookies[name] = value
	}
	f.wantConnected(f.browser.get(t, other, back))
	f.accepted = nil
	f.browser.cookies = cookies
	for _, address := range []string{link, back, late} {
		f.wantFailure(f.browser.get(t, f.Flow, address), ErrUsed)
	}

	link = f.link("")
	page := formOf(f.browser.get(t, other, link))
	back = f.server.consent(t, f.start(link))
	if err := f.config.Links.Withdraw(t.Context(), credential.Key{Provider: "crm", Tenant: tenant}); err != nil {
		t.Fatal(err)
	}
	f.wantFailure(f.browser.get(t, other, link), ErrUsed)
	f.wantFailure(f.browser.post(t, other, link, url.Values{"form": {page}}), ErrUsed)
	f.wantFailure(f.browser.get(t, other, back), ErrUsed)
	if n := f.server.count("/token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// Who knows the keys that seal links, and all else that the store has of them, makes no
// link: none of its ids can be told.
func TestReaderOfTheStoreMakesNoLink(t *testing.T) {
	f := newFixture(t, nil)
	f.link("") // that somebody has
	doc, err := f.store.Get(t.Context(), credential.Key{Provider: "crm", Tenant: tenant}.Links())
	if err != nil {
		t.Fatal(err)
	}
	registered, _, _ := strings.Cut(strings.TrimPrefix(string(doc.Data), `{"links":{"`), `"`)
	for _, id := range []string{registered, "invented"} {
		forged := link{ID: id, Provider: "crm", Tenant: tenant, Expires: time.Now().Add(time.Hour).Unix()}
		sealed, err := f.config.Links.Seal(t.Context(), linkKind, &forged)
		if err != nil {
			t.Fatal(err)
		}
		f.wantFailure(f.browser.get(t, f.Flow, "https://connect.example/oauth/connect?link="+sealed), ErrUsed)
		s := newState(&forged, callbackURI, "cookie")
		if sealed, err = f.config.Links.Seal(t.Context(), stateKind, s); err != nil {
			t.Fatal(err)
		}
		f.browser.cookies["__Host-"+cookiePrefix+links.Fingerprint(id)] = "cookie"
		f.wantFailure(f.browser.get(t, f.Flow, fmt.Sprintf("%s?state=%s&code=x&iss=https://as.example", callbackURI, sealed)), ErrUsed)
	}
}
