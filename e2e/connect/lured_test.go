package connect

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
)

// lure is an attacker's page that tries all that needs no click, and then offers what
// does. ADDRESS is a link of the attacker's, FORM what its page has in the form for them.
const lure = `<!DOCTYPE html>
<title>lure</title>
<script>
let left = 7
const done = () => { if (--left === 0) document.title = 'done' }
const form = {headers: {'Content-Type': 'application/x-www-form-urlencoded'}, body: 'form=FORM'}
fetch('ADDRESS', {mode: 'no-cors', credentials: 'include'}).finally(done)
fetch('ADDRESS', {mode: 'no-cors', credentials: 'include', method: 'POST', ...form}).finally(done)
</script>
<img src="ADDRESS" onload="done()" onerror="done()">
<object data="ADDRESS" onload="done()" onerror="done()"></object>
<iframe src="ADDRESS" onload="done()"></iframe>
<iframe sandbox="allow-scripts allow-forms allow-same-origin" src="ADDRESS" onload="done()"></iframe>
<iframe name="frame"></iframe>
<form id="framed" target="frame" method="post" action="ADDRESS"><input name="form" value="FORM"></form>
<script>
document.getElementsByName('frame')[0].onload = done
document.getElementById('framed').submit()
</script>
<a id="link" href="ADDRESS">A prize!</a>
<form method="post" action="ADDRESS"><input name="form" value="FORM"><button id="button">A prize!</button></form>`

// Whoever makes a link for their own tenant and has somebody's browser open it connects
// nothing, though that browser is signed in at the authorization server, which asks
// nothing: only the person's click on our own page does.
func TestAttackersLinkConnectsNothing(t *testing.T) {
	c := newConnecting(t)
	c.Auth.SignIn("victim")
	b, err := browser.Start(c.Ctx, "ignore-certificate-errors")
	c.Check(err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, way := range map[string]struct {
		place func(string) string
		open  bool // the page, whose cookie is there then
	}{
		"from another site":      {onLocalhost, false},
		"from another port":      {func(address string) string { return address }, false}, // the same site to a browser
		"while the page is open": {onLocalhost, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := c.within(t)
			link := c.secureLink("attacker", "")
			v := c.visit(b)
			if way.open {
				v.tab().goTo(link, http.StatusOK, questionTitle)
			}
			v.fallsFor(c.lure(link, way.place))
		})
	}
	c.Asked("victim")
	if got := c.versions(plain, "attacker"); got != 0 {
		t.Errorf("%d versions in Vault", got)
	}

	v := c.visit(b)
	v.goTo(c.secureLink("victim", ""), http.StatusOK, questionTitle)
	v.goesOn(http.StatusOK, connectedTitle) // over three sites and back, after one form
	c.works("victim")
	v.goTo(c.secureLink("victim", c.app+"/done"), http.StatusOK, questionTitle)
	v.goesOn(http.StatusOK, "The app")
}

// lure serves the attacker's page, who has opened the link themselves.
func (c *connecting) lure(link string, place func(string) string) (address string) {
	c.Helper()
	form := formToken.FindSubmatch(c.newPerson().get(link).Content)
	if form == nil {
		c.Fatal("the link has no page")
	}
	page := strings.NewReplacer("ADDRESS", html.EscapeString(link), "FORM", string(form[1])).Replace(lure)
	return place(c.Serve(httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, page)
	}))))
}

// fallsFor has a visitor do all that the attacker's page wants.
func (v *visitor) fallsFor(address string) {
	v.Helper()
	for selector, want := range map[string]struct {
		status int
		title  string
	}{
		"#link":   {http.StatusOK, questionTitle},
		"#button": {http.StatusForbidden, crossSiteTitle},
	} {
		_, err := v.Navigate(v.Ctx, address)
		v.Check(err)
		v.Check(v.Await(v.Ctx, `document.title === "done"`))
		got, err := v.Submit(v.Ctx, selector)
		v.Check(err)
		v.sees(got, want.status, want.title)
	}
}
