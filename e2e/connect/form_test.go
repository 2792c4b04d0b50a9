package connect

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// keySchema has all kinds of fields, and texts that would be more than text in HTML.
const keySchema = `{"required":["apiKey"],"additionalProperties":false,"properties":{
	"apiKey":{"type":"string","title":"API key <img src=x onerror=\"document.title='owned'\">","description":"\" onfocus=\"document.title='owned'\" autofocus=\"","writeOnly":true,"minLength":8},
	"region":{"title":"Region","enum":["eu","us"]},
	"limit":{"type":"integer","title":"Limit","default":10},
	"live":{"type":"boolean","title":"Live"},
	"certificate":{"type":"string","title":"Certificate","contentMediaType":"application/x-pem-file"},
	"owner":{"title":"Owner","properties":{"mail":{"type":"string","format":"email","title":"E-mail"},"pin":{"type":"string","format":"password"}}}}}`

const troubleTitle = "Nothing is connected yet"

// secureKeyLink asks for a link to the form and moves it to the front's https address.
func (c *connecting) secureKeyLink(tenant, returnTo string) string {
	c.Helper()
	return strings.Replace(c.link(keys, tenant, returnTo), c.front.plain.URL, c.front.secure.URL, 1)
}

// field is the selector of a field of the form.
func field(path string) string { return `[name="field.` + path + `"]` }

// enters fills in the form of a link's page, and sends it.
func (v *visitor) enters(values map[string]string, status int, title string) {
	v.Helper()
	for path, text := range values {
		v.Check(v.Fill(v.Ctx, field(path), text))
	}
	v.goesOn(status, title)
}

// A person whose API has no OAuth fills in a form, in a real browser.
func TestPersonFillsInAKey(t *testing.T) {
	c := newConnecting(t)
	for name, flags := range map[string][]string{"light": nil, "dark": {"blink-settings=preferredColorScheme=0"}} {
		t.Run(name, func(t *testing.T) {
			c := c.within(t)
			b, err := browser.Start(c.Ctx, append(flags, "ignore-certificate-errors")...)
			c.Check(err)
			t.Cleanup(func() { c.Check(b.Close()) })
			c.fillsIn(b, "tenant-"+name, name == "dark")
		})
	}
}

func (c *connecting) fillsIn(b *browser.Browser, tenant string, dark bool) {
	c.Helper()
	old := c.NewKey(tenant)
	key := c.NewKey(tenant) // the upstream takes the newer one alone
	v := c.visit(b)
	link := c.secureKeyLink(tenant, c.app+"/done")
	v.goTo(link, http.StatusOK, questionTitle)
	v.accessible()
	v.is("matchMedia('(prefers-color-scheme: dark)').matches", dark)
	v.is("document.images.length", 0.0)
	v.is(`document.querySelector('label[for="field.apiKey"]').innerText.startsWith('API key <img')`, true)
	v.is(`[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].every(e => e.labels.length === 1 && e.form.autocomplete === 'off')`, true)
	v.is(`document.querySelector('a[href]').rel`, "noopener noreferrer")

	v.enters(map[string]string{"apiKey": "short", "owner.mail": "a@b.example", "limit": "7"}, http.StatusUnprocessableEntity, troubleTitle)
	v.accessible()
	v.is(`document.querySelector('[role=alert] a').hash === '#field.apiKey' && document.querySelector('[aria-invalid=true]').id === 'field.apiKey'`, true)
	v.is(`document.querySelector('[aria-invalid=true]').getAttribute('aria-describedby').split(' ').every(id => document.getElementById(id).innerText)`, true)
	v.is(`['apiKey', 'owner.mail', 'limit'].map(path => document.getElementById('field.' + path).value).join()`, ",a@b.example,7")

	v.enters(map[string]string{"apiKey": old}, http.StatusUnprocessableEntity, troubleTitle) // the upstream answers 401 to it
	text, err := v.Text(c.Ctx, "#troubles")
	c.Check(err)
	if !strings.Contains(text, "keys answered 401 when it was tried") {
		c.Errorf("the page says %q", text)
	}
	if got := c.versions(keys, tenant); got != 0 {
		c.Errorf("%d versions in Vault", got)
	}

	v.enters(map[string]string{"apiKey": key}, http.StatusOK, "The app")
	v.is("location.href", c.app+"/done?status=success")
	if got := c.fieldsOf(keys, tenant); got["apiKey"] != key || !reflect.DeepEqual(got["owner"], map[string]any{"mail": "a@b.example"}) || len(got) != 4 {
		c.Errorf("in Vault lie %d fields of %s, not what was filled in", len(got), tenant)
	}
	v.goTo(link, http.StatusGone, usedTitle)
	c.tests(tenant, 200)
	c.NewKey(tenant)
	c.tests(tenant, 401)

	v.goTo(c.secureKeyLink(tenant, c.app+"/done"), http.StatusOK, questionTitle)
	v.is(`[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].map(e => e.value).join('')`, "10") // nothing that is stored
	status, err := v.Submit(c.Ctx, "#cancel")
	c.Check(err)
	v.sees(status, http.StatusOK, "The app")
	v.is("location.href", c.app+"/done?status=error")
	if got := c.versions(keys, tenant); got != 1 {
		c.Errorf("%d versions in Vault", got)
	}
}

// tests has a tenant test what is stored, which the upstream answers so.
func (c *connecting) tests(tenant string, status int) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Ctx, http.MethodPost, c.front.plain.URL+"/"+keys+"/api/self/test", http.NoBody)
	c.Check(err)
	req.Header.Set("Authorization", "Bearer "+c.token(map[string]any{"id": tenant}))
	res := c.newPerson().do(req)
	var result struct {
		OK     bool
		Status int
	}
	c.Check(json.Unmarshal(res.Content, &result))
	if result.Status != status || result.OK != (status == http.StatusOK) {
		c.Errorf("the test came to %s, not to %d", res.Content, status)
	}
}

// An attacker's page has a browser send no form for a link of theirs, and shows none.
func TestAttackersFormStoresNothing(t *testing.T) {
	c := newConnecting(t)
	b, err := browser.Start(c.Ctx, "ignore-certificate-errors")
	c.Check(err)
	t.Cleanup(func() { c.Check(b.Close()) })
	for name, open := range map[string]bool{"from another site": false, "while the page is open": true} {
		t.Run(name, func(t *testing.T) {
			c := c.within(t)
			link := c.secureKeyLink("attacker", "")
			v := c.visit(b)
			if open {
				v.tab().goTo(link, http.StatusOK, questionTitle)
			}
			v.fallsFor(c.lure(link, onLocalhost))
		})
	}
	if got := c.versions(keys, "attacker"); got != 0 {
		t.Errorf("%d versions in Vault", got)
	}
}

// Forms that no page of ours has sent, or that have more in them than it.
func TestFormsThatStoreNothing(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	key := c.NewKey("acme")
	link := c.link(keys, "acme", "")
	p := c.newPerson()
	send := func(change func(*http.Request, url.Values)) world.Response {
		t.Helper()
		token := formToken.FindSubmatch(p.get(link).Content)
		if token == nil {
			t.Fatal("the link has no form")
		}
		values := url.Values{"form": {string(token[1])}, "field.apiKey": {key}, "field.region": {"eu"}}
		req := p.form(link, "", "")
		change(req, values)
		whole := httptest.NewRequestWithContext(c.Ctx, http.MethodPost, link, strings.NewReader(values.Encode()))
		req.Body, req.ContentLength, req.GetBody = whole.Body, whole.ContentLength, nil
		return p.do(req)
	}
	for name, test := range map[string]struct {
		change func(*http.Request, url.Values)
		status int
		title  string
	}{
		"of another site":    {func(r *http.Request, _ url.Values) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden, crossSiteTitle},
		"without its token":  {func(_ *http.Request, v url.Values) { v.Del("form") }, http.StatusForbidden, notBegunTitle},
		"100 KB":             {func(_ *http.Request, v url.Values) { v.Set("field.apiKey", strings.Repeat("x", 100<<10)) }, http.StatusBadRequest, incompleteTitle},
		"the reserved field": {func(_ *http.Request, v url.Values) { v.Set("field._upstream_auth.disabled", "true") }, http.StatusBadRequest, incompleteTitle},
		"an unknown field":   {func(_ *http.Request, v url.Values) { v.Set("field.admin", "true") }, http.StatusBadRequest, incompleteTitle},
		"another tenant":     {func(_ *http.Request, v url.Values) { v.Set("tenant", "globex") }, http.StatusBadRequest, incompleteTitle},
		"a line break":       {func(_ *http.Request, v url.Values) { v.Set("field.apiKey", key+"\r\nX-Injected: y") }, http.StatusUnprocessableEntity, troubleTitle},
	} {
		p.shows(send(test.change), test.status, test.title)
		if got := c.versions(keys, "acme"); got != 0 {
			t.Fatalf("%s: %d versions in Vault", name, got)
		}
	}
	huge := p.form(link, "", "")
	huge.Body, huge.ContentLength = io.NopCloser(strings.NewReader("form="+strings.Repeat("x", 10<<20))), -1
	if res, err := p.client.Do(huge); err == nil { // else the connection ended while it was sent, as for the front
		c.Check(res.Body.Close())
		if res.StatusCode != http.StatusBadRequest && res.StatusCode != http.StatusBadGateway {
			t.Errorf("10 MB: %d", res.StatusCode)
		}
	}
	var replay *http.Request
	p.shows(send(func(r *http.Request, v url.Values) {
		replay = p.form(link, "", "")
		replay.Body = httptest.NewRequestWithContext(c.Ctx, http.MethodPost, link, strings.NewReader(v.Encode())).Body
		replay.ContentLength = -1
	}), http.StatusOK, connectedTitle)
	p.shows(p.do(replay), http.StatusForbidden, notBegunTitle) // the cookie went with the link
	p.shows(p.get(link), http.StatusGone, usedTitle)
	if got := c.versions(keys, "acme"); got != 1 {
		t.Errorf("%d versions in Vault", got)
	}
}
