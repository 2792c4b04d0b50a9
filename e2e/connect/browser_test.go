package connect

import (
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// visitor is a person with a real browser.
type visitor struct {
	*connecting
	*browser.Page
}

// visit has a person come who has not been here before.
func (c *connecting) visit(b *browser.Browser) *visitor {
	c.Helper()
	page, err := b.NewPage(c.Ctx)
	c.Check(err)
	c.Cleanup(page.Close)
	return &visitor{connecting: c, Page: page}
}

// tab is another tab of the same person.
func (v *visitor) tab() *visitor {
	v.Helper()
	page, err := v.NewTab(v.Ctx)
	v.Check(err)
	return &visitor{connecting: v.connecting, Page: page}
}

// secureLink asks for a link and moves it to the front's https address.
func (c *connecting) secureLink(tenant, returnTo string) string {
	c.Helper()
	return strings.Replace(c.link(plain, tenant, returnTo), c.front.plain.URL, c.front.secure.URL, 1)
}

// goTo goes to an address and checks what is there.
func (v *visitor) goTo(address string, status int, title string) {
	v.Helper()
	got, err := v.Navigate(v.Ctx, address)
	v.Check(err)
	v.sees(got, status, title)
}

func (v *visitor) sees(got, status int, title string) {
	v.Helper()
	text, err := v.Title(v.Ctx)
	v.Check(err)
	if got != status || text != title {
		v.Errorf("page %d %q, not %d %q", got, text, status, title)
	}
}

// open opens a link and goes on from its page, which leads to the consent page.
func (v *visitor) open(link string) {
	v.Helper()
	v.goTo(link, http.StatusOK, questionTitle)
	v.goesOn(http.StatusOK, consentTitle)
}

// goesOn goes on from a link's page.
func (v *visitor) goesOn(status int, title string) {
	v.Helper()
	got, err := v.Submit(v.Ctx, "#go-on")
	v.Check(err)
	v.sees(got, status, title)
}

// decides fills in the consent page, and checks where it leads.
func (v *visitor) decides(account, button string, status int, title string) {
	v.Helper()
	v.Check(v.Fill(v.Ctx, "#account", account))
	got, err := v.Submit(v.Ctx, button)
	v.Check(err)
	v.sees(got, status, title)
}

// is checks the value of a JavaScript expression.
func (v *visitor) is(expression string, want any) {
	v.Helper()
	var got any
	v.Check(v.Eval(v.Ctx, expression, &got))
	if got != want {
		v.Errorf("%s is %v, not %v", expression, got, want)
	}
}

// A person's browser goes through: by https, from one site to another and back, with a
// cookie that is nobody else's.
func TestPersonConnectsAnAccount(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	b, err := browser.Start(c.Ctx, "ignore-certificate-errors")
	c.Check(err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, test := range map[string]func(c *connecting, b *browser.Browser, tenant string){
		"the whole way":      theWholeWay,
		"and returns":        andReturns,
		"reconnects":         reconnects,
		"declines":           declines,
		"comes back again":   comesBackAgain,
		"in two tabs":        inTwoTabs,
		"is lured":           isLured,
		"takes it elsewhere": takesItElsewhere,
		"at plain http":      atPlainHTTP,
	} {
		t.Run(name, func(t *testing.T) { test(c.within(t), b, world.TenantName(name)) })
	}
}

func theWholeWay(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	v.goTo(c.secureLink(tenant, ""), http.StatusOK, questionTitle)
	v.accessible()
	v.goesOn(http.StatusOK, consentTitle)
	// The cookie is the sidecar's, and not there for the authorization server.
	if cookies, err := v.Cookies(c.Ctx); err != nil || len(cookies) != 0 {
		c.Errorf("cookies at the authorization server: %+v, %v", cookies, err)
	}
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	v.accessible()
	// A script that got into the page would not run.
	v.is(`(() => {
		const script = document.createElement('script')
		script.textContent = 'window.ran = true'
		document.head.append(script)
		return Boolean(window.ran)
	})()`, false)
	if cookies, err := v.Cookies(c.Ctx); err != nil || len(cookies) != 0 {
		c.Errorf("%d cookies are left, %v", len(cookies), err)
	}
	c.works(tenant)
	c.has(tenant, map[string]any{"instance_host": "first.crm.example", "tid": "tid-" + tenant, "account": "account of " + tenant})
}

func andReturns(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	v.open(c.secureLink(tenant, c.app+"/tenants/7?tab=crm"))
	v.decides(tenant, "#allow", http.StatusOK, "The app")
	v.is("location.href", c.app+"/tenants/7?status=success&tab=crm")
	v.is("document.referrer.includes('state=')", false)
	c.works(tenant)
}

func reconnects(c *connecting, b *browser.Browser, tenant string) {
	c.newPerson().connects(c.link(plain, tenant, ""), tenant)
	c.Check(c.Auth.Revoke(tenant))
	res := c.Expect(world.Request{Tenant: tenant, ID: tenant + " revoked"}, 401)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" {
		c.Errorf("code %q", code)
	}
	v := c.visit(b)
	v.open(c.secureLink(tenant, ""))
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	c.works(tenant)
}

func declines(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	link := c.secureLink(tenant, "")
	v.open(link)
	v.decides(tenant, "#deny", http.StatusForbidden, declinedTitle)
	v.accessible()
	if got := c.versions(plain, tenant); got != 0 {
		c.Errorf("%d versions in Vault", got)
	}
	v.open(link) // as the page says
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	c.works(tenant)
}

// comesBackAgain loads the last page again, and goes back and allows it once more.
func comesBackAgain(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	v.open(c.secureLink(tenant, ""))
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	address, err := v.URL(c.Ctx)
	c.Check(err)
	v.goTo(address, http.StatusGone, usedTitle)
	v.accessible()
	c.Check(v.Eval(c.Ctx, "void setTimeout(() => history.back())", nil))
	c.Check(v.Await(c.Ctx, "document.title === '"+consentTitle+"' && document.readyState === 'complete'"))
	v.decides(tenant, "#allow", http.StatusGone, usedTitle)
	if got := c.versions(plain, tenant); got != 1 {
		c.Errorf("%d versions in Vault", got)
	}
	c.works(tenant)
}

func inTwoTabs(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	other := v.tab()
	v.open(c.secureLink(tenant, ""))
	other.open(c.secureLink(tenant+"-2", ""))
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	other.decides(tenant+"-2", "#allow", http.StatusOK, connectedTitle)
	c.works(tenant)
	c.works(tenant + "-2")
}

// isLured is somebody who is sent the end of another person's flow, to be connected to
// that one's account.
func isLured(c *connecting, b *browser.Browser, tenant string) {
	p := c.newPerson()
	back := p.consent(c.secureLink(tenant, c.app+"/done"), tenant)
	v := c.visit(b)
	v.open(c.secureLink(tenant+"-2", "")) // with a flow of their own under way
	v.goTo(back, http.StatusForbidden, notBegunTitle)
	v.accessible()
	c.Asked(tenant)
	if got := c.versions(plain, tenant); got != 0 {
		c.Errorf("%d versions in Vault", got)
	}
}

// takesItElsewhere opens the link in one browser and ends in another.
func takesItElsewhere(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	link := c.secureLink(tenant, "")
	v.open(link)
	consent, err := v.URL(c.Ctx)
	c.Check(err)
	other := c.visit(b)
	other.goTo(consent, http.StatusOK, consentTitle)
	other.decides(tenant, "#allow", http.StatusForbidden, notBegunTitle)
	c.Asked(tenant)
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	c.works(tenant)
}

func atPlainHTTP(c *connecting, b *browser.Browser, tenant string) {
	v := c.visit(b)
	v.open(c.link(plain, tenant, ""))
	v.decides(tenant, "#allow", http.StatusOK, connectedTitle)
	c.works(tenant)
}
