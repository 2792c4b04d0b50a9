package connect

import (
	"bytes"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// The titles of the pages that a person gets to see.
const (
	consentTitle    = "Allow access?" // the authorization server's
	connectedTitle  = "Your account is connected"
	forgedTitle     = "This link does not work"
	incompleteTitle = "This link is not complete"
	expiredTitle    = "This link has expired"
	usedTitle       = "This link was already used"
	elsewhereTitle  = "This link does not belong here"
	questionTitle   = "Connect an account?" // the page that a link leads to
	notBegunTitle   = "This was not begun in this browser"
	crossSiteTitle  = "This was not begun on this page"
	wrongCodeTitle  = "The code is not the right one"
	otherTitle      = "This is another account"
	tooOftenTitle   = "This was tried too often"
	declinedTitle   = "The connection was declined"
	wrongTitle      = "The answer came from the wrong sign-in service"
	refusedTitle    = "The sign-in service refused"
	silentTitle     = "The sign-in service does not answer"
	untrustedTitle  = "The sign-in service's answer cannot be trusted"
	uselessTitle    = "This account cannot be used"
)

// formToken is what the form of a link's page has in it.
var formToken = regexp.MustCompile(`name="form" value="([^"]+)"`)

// person is somebody with a browser that keeps cookies, and that a test takes from
// one redirect to the next. It runs no Chromium.
type person struct {
	*connecting
	client *http.Client
}

func (c *connecting) newPerson() *person {
	c.Helper()
	jar, err := cookiejar.New(nil)
	c.Check(err)
	transport := c.front.secure.Client().Transport.(*http.Transport).Clone() // trusts it
	transport.DisableKeepAlives = true
	return &person{connecting: c, client: &http.Client{
		Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request, and checks what holds for every answer: a browser tells nobody
// the address, and keeps no copy; a page has no secrets and runs no script.
func (p *person) do(req *http.Request) world.Response {
	p.Helper()
	r, err := p.client.Do(req)
	p.Check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	p.Check(err)
	res := world.Response{Response: r, Content: body}
	if !isConnect(req.URL) {
		return res
	}
	referrer := "no-referrer"
	if title := titleOf(res); title == questionTitle || title == troubleTitle {
		referrer = "strict-origin" // or its form would have the origin null
	}
	for name, want := range map[string]string{
		"X-Frame-Options":         "DENY",
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
		"Referrer-Policy":         referrer,
		"Cache-Control":           "no-store",
		"X-Content-Type-Options":  "nosniff",
	} {
		if got := r.Header.Get(name); got != want {
			p.Errorf("%s of an answer %d: %q", name, r.StatusCode, got)
		}
	}
	for _, leak := range p.Secrets.Scan("page", body) {
		p.Errorf("leak: %s", leak)
	}
	if bytes.Contains(body, []byte("<script")) {
		p.Errorf("a page with a script: %s", body)
	}
	return res
}

// isConnect reports whether an address is one that upstream_auth_connect serves.
func isConnect(u *url.URL) bool {
	return slices.ContainsFunc(providers, func(provider string) bool {
		path := u.EscapedPath()
		return path == start(provider) || path == callback(provider)
	})
}

func (p *person) get(address string) world.Response {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Ctx, http.MethodGet, address, nil)
	p.Check(err)
	return p.do(req)
}

// answers opens a link and sends the form of its page, with a code if there is one. An
// answer that is no such page is returned as it is.
func (p *person) answers(link, code string) world.Response {
	p.Helper()
	res := p.get(link)
	token := formToken.FindSubmatch(res.Content)
	if token == nil {
		return res
	}
	return p.do(p.form(link, string(token[1]), code))
}

// form is the request that a browser makes of the form in a link's page.
func (p *person) form(link, token, code string) *http.Request {
	p.Helper()
	form := url.Values{"form": {token}, "handoff": {code}}
	req, err := http.NewRequestWithContext(p.Ctx, http.MethodPost, link, strings.NewReader(form.Encode()))
	p.Check(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req
}

// open opens a link and goes on from its page, and returns the address of the consent
// page.
func (p *person) open(link string) (consent string) {
	p.Helper()
	res := p.answers(link, "")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), p.AuthURL+"/authorize?") {
		p.Fatalf("the link was answered with %d, %q", res.StatusCode, titleOf(res))
	}
	return res.Header.Get("Location")
}

// decide fills in the consent page, and returns where the browser is sent back to.
func (p *person) decide(consent, account, decision string) (back string) {
	p.Helper()
	form := url.Values{"account": {account}, "decision": {decision}}
	req, err := http.NewRequestWithContext(p.Ctx, http.MethodPost, consent, strings.NewReader(form.Encode()))
	p.Check(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res := p.do(req)
	if res.StatusCode != http.StatusSeeOther {
		p.Fatalf("the consent page answered %d: %s", res.StatusCode, res.Content)
	}
	back = res.Header.Get("Location")
	p.front.learn(back)
	return back
}

// consent opens a link and says yes, and returns where the browser is sent back to.
func (p *person) consent(link, account string) (back string) {
	p.Helper()
	return p.decide(p.open(link), account, "allow")
}

// connects goes the whole way with a link, which has to work.
func (p *person) connects(link, account string) {
	p.Helper()
	p.shows(p.get(p.consent(link, account)), http.StatusOK, connectedTitle)
}

// shows checks which page a person gets.
func (p *person) shows(res world.Response, status int, title string) {
	p.Helper()
	if res.StatusCode != status || titleOf(res) != title {
		p.Errorf("page %d %q, not %d %q", res.StatusCode, titleOf(res), status, title)
	}
}

func titleOf(res world.Response) string {
	title := regexp.MustCompile(`<title>(.*)</title>`).FindSubmatch(res.Content)
	if title == nil {
		return "(no title) " + res.Header.Get("Location")
	}
	return html.UnescapeString(string(title[1]))
}

// cookies are those for the callback at an address.
func (p *person) cookies(address string) []*http.Cookie {
	p.Helper()
	u, err := url.Parse(address)
	p.Check(err)
	return p.client.Jar.Cookies(u)
}

// remember puts cookies back, as a browser would have them that did not forget.
func (p *person) remember(address string, cookies []*http.Cookie) {
	p.Helper()
	u, err := url.Parse(address)
	p.Check(err)
	for _, cookie := range cookies {
		cookie.Path = "/"
	}
	p.client.Jar.SetCookies(u, cookies)
}

// with is an address with its query changed.
func (p *person) with(address string, change func(query url.Values)) string {
	p.Helper()
	u, err := url.Parse(address)
	p.Check(err)
	query := u.Query()
	change(query)
	u.RawQuery = query.Encode()
	return u.String()
}

// setting is for [person.with].
func setting(name string, values ...string) func(url.Values) {
	return func(query url.Values) { query[name] = values }
}

func without(name string) func(url.Values) { return func(query url.Values) { query.Del(name) } }

func doubling(name string) func(url.Values) {
	return func(query url.Values) { query.Add(name, query.Get(name)) }
}

// forging changes a character in the middle.
func forging(name string) func(url.Values) {
	return func(query url.Values) {
		value := []byte(query.Get(name))
		value[len(value)/2] ^= 1
		query.Set(name, string(value))
	}
}
