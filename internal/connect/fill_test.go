package connect

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const keySchema = `{"required":["api_key"],"additionalProperties":false,"properties":{
	"api_key":{"type":"string","title":"API key <b>","description":"It begins with \"sk_\" & ends","writeOnly":true,"minLength":8},
	"region":{"type":"string","title":"Region","enum":["eu","us"]},
	"zone":{"type":"string","title":"Zone","pattern":"^z"},
	"owner":{"title":"Owner","properties":{"mail":{"type":"string","format":"email","title":"E-mail"},"pin":{"type":"string","format":"password","title":"PIN"}}}}}`

// newFormFixture is a flow with a form, and nothing to sign in at.
func newFormFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	schema, err := credential.CompileSchema([]byte(keySchema))
	if err != nil {
		t.Fatal(err)
	}
	filledIn, err := form.New(form.Source{Own: schema, Schemas: []*credential.Schema{schema}})
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, func(c *Config) {
		c.OAuth2, c.Issuer, c.Scopes = nil, "", nil
		c.Form, c.HelpURL, c.Application = filledIn, "https://docs.example/keys?a=1&b=2", "Acme's <Portal>"
		c.Check = func(document []byte) error {
			cred, err := credential.New(credential.Document{Data: document})
			if err != nil {
				return err
			}
			return schema.Check(cred)
		}
		if change != nil {
			change(c)
		}
	})
}

func filledIn(more ...string) url.Values {
	values := url.Values{"field.api_key": {"sk_canary_0001"}, "field.region": {""}, "field.zone": {""}, "field.owner.mail": {""}, "field.owner.pin": {""}}
	for i := 0; i < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	return values
}

// fills opens a link and sends its form.
func (f *fixture) fills(link string, values url.Values) *httptest.ResponseRecorder {
	f.t.Helper()
	values.Set("form", formOf(f.browser.get(f.t, f.Flow, link)))
	return f.browser.post(f.t, f.Flow, link, values)
}

// wantShownAgain checks that the form is there again with the texts, and no secret.
func (f *fixture) wantShownAgain(response *httptest.ResponseRecorder, status int, texts ...string) {
	f.t.Helper()
	page := response.Body.String()
	if response.Code != status || formOf(response) == "" {
		f.t.Errorf("answered %d: %v\n%s", response.Code, f.log.last(), page)
	}
	for _, text := range texts {
		if !strings.Contains(page, text) {
			f.t.Errorf("page without %s:\n%s", text, page)
		}
	}
	if strings.Contains(strings.ReplaceAll(page, string(tenant), ""), "canary") || strings.Contains(page, "<script") {
		f.t.Errorf("page\n%s", page)
	}
	if len(f.accepted) > 0 {
		f.t.Errorf("accepted %s", f.accepted)
	}
}

func TestFormIsMadeOfTheSchema(t *testing.T) {
	f := newFormFixture(t, nil)
	link := f.link("")
	puts := f.store.Puts()
	response := f.browser.get(t, f.Flow, link)
	f.wantShownAgain(response, http.StatusOK, "<b>Acme&#39;s &lt;Portal&gt;</b>", "<b>crm</b>", "<b>"+string(tenant)+"</b>",
		`href="https://docs.example/keys?a=1&amp;b=2" target="_blank" rel="noopener noreferrer"`,
		`<label for="field.api_key">API key &lt;b&gt;</label>`, `<small id="field.api_key.hint">It begins with &#34;sk_&#34; &amp; ends</small>`,
		`<input id="field.api_key" name="field.api_key" type="password" required aria-describedby="field.api_key.hint" autocomplete="off"`,
		`<select id="field.region"`, `<label for="field.region">Region (optional)</label>`, `<option value="eu">eu</option>`,
		"<legend>Owner</legend>", `name="field.owner.mail" type="email"`, `name="field.owner.pin" type="password"`, "<title>Connect an account?</title>")
	for _, part := range []string{"cancel", "handoff", "role=\"alert\"", "aria-invalid"} {
		if strings.Contains(response.Body.String(), part) {
			t.Errorf("page with %s", part)
		}
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'", "X-Frame-Options": "DENY",
		"Referrer-Policy": "strict-origin", "Cache-Control": "no-store",
	} {
		if got := response.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if f.store.Puts() != puts {
		t.Error("a GET wrote to the store")
	}
	if f.Serves(httptest.NewRequestWithContext(t.Context(), "GET", callbackURI, nil)) {
		t.Error("the redirect URI is served, from where nobody comes")
	}
}

func TestFilledInFormConnects(t *testing.T) {
	for returnTo, location := range map[string]string{"": "", "https://app.example/done?tab=1": "https://app.example/done?status=success&tab=1"} {
		f := newFormFixture(t, nil)
		link := f.link(returnTo)
		response := f.fills(link, filledIn("field.region", "us", "field.owner.mail", "a@b.example"))
		if location == "" {
			f.wantConnected(response)
		} else if got := response.Header().Get("Location"); response.Code != http.StatusSeeOther || got != location {
			t.Errorf("answered %d, %s", response.Code, got)
		}
		if want := `{"api_key":"sk_canary_0001","owner":{"mail":"a@b.example"},"region":"us"}`; len(f.accepted) != 1 || f.accepted[0] != want {
			t.Errorf("accepted %s", f.accepted)
		}
		if len(f.browser.cookies) != 0 {
			t.Error("a cookie is left")
		}
		f.accepted = nil
		f.wantFailure(f.browser.get(t, f.Flow, link), ErrUsed) // once
	}
}

// What is wrong is told beside its field, by place and rule. What is no secret stays.
func TestFormIsShownAgainWithWhatIsWrong(t *testing.T) {
	f := newFormFixture(t, nil)
	link := f.link("https://app.example/done")
	puts := f.store.Puts()
	f.wantShownAgain(f.fills(link, filledIn("field.api_key", "canary", "field.zone", `z"1`, "field.region", "us")), http.StatusUnprocessableEntity,
		`role="alert"`, `<a href="#field.api_key">API key &lt;b&gt; is too short.</a>`,
		`<strong id="field.api_key.trouble">API key &lt;b&gt; is too short.</strong>`,
		`type="password" required aria-invalid="true" aria-describedby="field.api_key.hint field.api_key.trouble"`,
		`value="z&#34;1"`, `<option value="us" selected>`, `id="cancel"`, "<title>Nothing is connected yet</title>")
	f.wantShownAgain(f.fills(link, filledIn("field.api_key", "", "field.zone", "z", "field.region", "canary")), http.StatusUnprocessableEntity,
		"API key &lt;b&gt; is missing.", "Region is not one of the choices.")
	f.wantShownAgain(f.fills(link, filledIn("field.zone", "x")), http.StatusUnprocessableEntity, "Zone does not look as it has to.")
	if f.store.Puts() != puts {
		t.Error("what breaks the schema was written as an attempt")
	}
	f.fills(link, filledIn())
	if len(f.accepted) != 1 {
		t.Errorf("accepted %s: %v", f.accepted, f.log.last())
	}
}

// What the upstream says to a trial is told by its status.
func TestFormIsShownAgainWhenItsTrialFails(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"rejected":       {&upstream.TestError{Status: 401}, 422, "crm answered 401 when it was tried. Check that it is complete"},
		"forbidden":      {&upstream.TestError{Status: 403}, 422, "crm answered 403 when it was tried. It may lack a permission"},
		"no answer":      {&upstream.TestError{Err: errors.New("no route")}, 503, "could not be tried: crm did not answer"},
		"broken":         {&upstream.TestError{Status: 502}, 503, "crm answered 502, which is not about what you entered"},
		"no token":       {&upstream.TestError{Status: 400, Err: errors.New("invalid_client")}, 422, "crm answered 400 when it was tried"},
		"store":          {credential.ErrUnavailable, 503, "could not be stored"},
		"others' writes": {credential.ErrConflict, 503, "could not be stored"},
		"too much":       {&budget.Error{What: "calls"}, 503, "Too much is under way"},
		"a field":        {&credential.FieldError{Path: "zone", Reason: "has a line break"}, 422, `<strong id="field.zone.trouble">Zone has a line break.</strong>`},
		"no field":       {&credential.FieldError{Path: "other", Reason: "is missing"}, 422, "does not fit together"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormFixture(t, nil)
			f.accept = func(context.Context) error { return c.err }
			link := f.link("https://app.example/done")
			values := filledIn("field.zone", "z1")
			response := f.fills(link, values)
			f.wantShownAgain(response, c.status, c.want, `value="z1"`)
			f.accept = nil
			if response := f.fills(link, values); response.Code != http.StatusSeeOther || len(f.accepted) != 1 {
				t.Errorf("answered %d: %v", response.Code, f.log.last())
			}
		})
	}
}

// A link has ten trials for as long as it lives, whoever makes them.
func TestFormIsNoWayToTryKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFormFixture(t, func(c *Config) { c.LinkTTL = MaxLinkTTL })
		tried := 0
		f.accept = func(context.Context) error { tried++; return &upstream.TestError{Status: 401} }
		link := f.link("")
		for range links.MaxAttempts {
			f.wantShownAgain(f.fills(link, filledIn()), http.StatusUnprocessableEntity)
			time.Sleep(time.Hour)
		}
		for range 3 {
			response := f.fills(link, filledIn())
			if response.Code != http.StatusTooManyRequests || response.Header().Get("Retry-After") == "" {
				t.Errorf("answered %d", response.Code)
			}
			wantPage(t, response)
		}
		if tried != links.MaxAttempts {
			t.Errorf("tried %d times", tried)
		}
	})
}

// While one browser's form is tried the link is used, and it is used up by one alone.
func TestFormIsSentTwiceAtOnce(t *testing.T) {
	f := newFormFixture(t, nil)
	link := f.link("")
	values := filledIn("form", formOf(f.browser.get(t, f.Flow, link)))
	begun, goOn, done := make(chan struct{}), make(chan struct{}), make(chan *httptest.ResponseRecorder)
	f.accept = func(context.Context) error { close(begun); <-goOn; return nil }
	other := &browser{map[string]string{}}
	for name, value := range f.browser.cookies {
		other.cookies[name] = value
	}
	go func() { done <- f.browser.post(t, f.Flow, link, values) }()
	<-begun
	response := other.post(t, f.newFlow(func(c *Config) { *c = f.config }), link, values)
	if response.Code != http.StatusGone {
		t.Errorf("answered %d: %v", response.Code, f.log.last())
	}
	close(goOn)
	f.wantConnected(<-done)
	if len(f.accepted) != 1 {
		t.Errorf("accepted %s", f.accepted)
	}
}

func TestFormsForCredentialsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*http.Request, url.Values)
		err    error
	}{
		"of another site":    {func(r *http.Request, _ url.Values) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, ErrCrossSite},
		"of an older site":   {func(r *http.Request, _ url.Values) { older("https://evil.example")(r) }, ErrCrossSite},
		"without a cookie":   {func(r *http.Request, _ url.Values) { r.Header.Del("Cookie") }, ErrOtherBrowser},
		"without its token":  {func(_ *http.Request, v url.Values) { v.Del("form") }, ErrOtherBrowser},
		"as JSON":            {func(r *http.Request, _ url.Values) { r.Header.Set("Content-Type", "application/json") }, ErrMalformed},
		"as files":           {func(r *http.Request, _ url.Values) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, ErrMalformed},
		"the reserved field": {func(_ *http.Request, v url.Values) { v.Set("field._upstream_auth", "x") }, ErrMalformed},
		"within it":          {func(_ *http.Request, v url.Values) { v.Set("field._upstream_auth.disabled", "true") }, ErrMalformed},
		"another field":      {func(_ *http.Request, v url.Values) { v.Set("field.admin", "true") }, ErrMalformed},
		"a field twice":      {func(_ *http.Request, v url.Values) { v.Add("field.api_key", "canary-too") }, ErrMalformed},
		"anything else":      {func(_ *http.Request, v url.Values) { v.Set("tenant", "globex") }, ErrMalformed},
		"without a prefix":   {func(_ *http.Request, v url.Values) { v.Set("api_key", "x") }, ErrMalformed},
		"too large":          {func(_ *http.Request, v url.Values) { v.Set("field.api_key", strings.Repeat("x", 10<<20)) }, ErrMalformed},
		"too many":           {func(_ *http.Request, v url.Values) { v["field.zone"] = make([]string, 9000) }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFormFixture(t, nil)
			link := f.link("https://app.example/done")
			values := filledIn("form", formOf(f.browser.get(t, f.Flow, link)))
			puts := f.store.Puts()
			r := httptest.NewRequestWithContext(t.Context(), "POST", link, nil)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			for name, value := range f.browser.cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			c.change(r, values)
			body := httptest.NewRequestWithContext(t.Context(), "POST", link, strings.NewReader(values.Encode()))
			r.Body, r.ContentLength = body.Body, body.ContentLength
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			f.wantFailure(w, c.err)
			if f.store.Puts() != puts {
				t.Error("it wrote to the store")
			}
		})
	}
}

func TestFormWithAHandoffCode(t *testing.T) {
	f := newFormFixture(t, nil)
	made := f.linkWith(LinkOptions{Handoff: true})
	f.wantFailure(f.fills(made.URL, filledIn("handoff", "WRONG")), ErrHandoff)
	f.wantShownAgain(f.fills(made.URL, filledIn("handoff", made.Handoff, "field.zone", "x")), http.StatusUnprocessableEntity, `id="handoff"`)
	f.wantConnected(f.fills(made.URL, filledIn("handoff", strings.ToLower(made.Handoff))))
}

func TestFormIsCancelled(t *testing.T) {
	f := newFormFixture(t, nil)
	link := f.link("https://app.example/done")
	response := f.fills(link, url.Values{"cancel": {"cancel"}})
	if got := response.Header().Get("Location"); response.Code != http.StatusSeeOther || got != "https://app.example/done?status=error" {
		t.Errorf("answered %d, %s", response.Code, got)
	}
	f.fills(link, filledIn()) // the person has thought better of it
	if len(f.accepted) != 1 {
		t.Errorf("accepted %s", f.accepted)
	}
	f.accepted = nil
	link = f.link("") // with nowhere to go nothing offers it
	f.wantShownAgain(f.fills(link, url.Values{"cancel": {"cancel"}}), http.StatusUnprocessableEntity)
}

// A link for a form answers nothing and asks for no account.
func TestLinksOfAForm(t *testing.T) {
	f := newFormFixture(t, nil)
	if _, err := f.Link(t.Context(), tenant, LinkOptions{Parameters: map[string]string{"zone": "z"}}); !errors.Is(err, ErrParameters) {
		t.Errorf("parameters: %v", err)
	}
	if _, err := f.Link(t.Context(), tenant, LinkOptions{Account: map[string]string{"sub": "x"}}); !errors.Is(err, ErrAccount) {
		t.Errorf("account: %v", err)
	}
	link := f.link("")
	if err := f.config.Links.Withdraw(t.Context(), credential.Key{Provider: "crm", Tenant: tenant}); err != nil {
		t.Fatal(err)
	}
	f.wantFailure(f.browser.get(t, f.Flow, link), ErrUsed)
}

func TestSettingsOfAForm(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"instead of":               func(c *Config) { c.Params = map[string]*template.Template{"a": literal("b")} },
		"which a form":             func(c *Config) { c.Ask = []Question{{Path: "a"}} },
		"is no https URL":          func(c *Config) { c.HelpURL = "http://docs.example/" },
		"of a page with help":      func(c *Config) { c.HelpURL = "javascript:alert(1)" },
		"form: is no":              func(c *Config) { c.HelpURL = "https://u:p@docs.example/" },
		"redirect_uri is missing":  func(c *Config) { c.RedirectURIs = nil },
		"is not one line":          func(c *Config) { c.Application = "a\nb" },
		"Check with Form":          func(c *Config) { c.Check = nil },
		"link_ttl must be between": func(c *Config) { c.LinkTTL = time.Hour * 48 },
	} {
		c := newFormFixture(t, nil).config
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
