package connect

import (
	"net/http"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// No replica keeps a session: what one has begun another one ends, and what was used up
// at one is so at all.
func TestConnectingAcrossReplicas(t *testing.T) {
	t.Parallel()
	c := prepareConnecting(t)
	one, other := c.Replica(c.configuration(), "one", t.TempDir()), c.Replica(c.configuration(), "other", t.TempDir())
	c.front.leadTo(one)
	link := c.link(plain, "acme", "")
	c.front.leadTo(other)
	p := c.newPerson()
	consent := p.open(link)
	c.front.leadTo(one)
	back := p.decide(consent, "acme", "allow")
	p.shows(p.get(back), http.StatusOK, connectedTitle)
	for _, w := range []*world.World{one, other} {
		r := world.Request{Tenant: "acme", ID: "acme at " + w.Caddy.Address}
		w.Check(w.Delivered(r, w.Must(r)))
	}

	c.front.leadTo(other)
	for _, used := range []string{back, link} {
		p.shows(p.get(used), http.StatusGone, usedTitle)
	}
	c.Asked("acme", authserver.Granted)
	if got := c.versions(plain, "acme"); got != 1 {
		t.Errorf("%d versions in Vault", got)
	}
}

// A new configuration does not forget which links and states were used.
func TestReloadForgetsNoUsedLink(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	changed := c.configuration()
	changed.Store = "cache_ttl 30s"
	a := &attempt{person: c.newPerson(), tenant: "acme", link: c.link(plain, "acme", "")}
	again := func(back string, cookies []*http.Cookie) {
		t.Helper()
		a.remember(back, cookies)
		a.shows(a.get(back), http.StatusGone, usedTitle)
	}
	failed, late, back := a.back(), a.back(), a.back()
	cookies := a.cookies(back)
	a.shows(a.get(a.with(failed, without("iss"))), http.StatusForbidden, wrongTitle)
	c.Check(c.Caddy.Load(c.Ctx, c.Caddyfile(changed)))
	again(failed, cookies)
	c.Asked("acme")
	a.shows(a.get(back), http.StatusOK, connectedTitle)
	for _, next := range []world.Configuration{changed, c.Running} {
		c.Check(c.Caddy.Load(c.Ctx, c.Caddyfile(next)))
		again(back, cookies)
		a.shows(a.get(a.link), http.StatusGone, usedTitle)
		a.works("acme")
	}
	again(late, cookies)
	c.Asked("acme", authserver.Granted)
	// What was under way goes on.
	a.link, a.tenant = c.link(plain, "globex", ""), "globex"
	back = a.back()
	c.Check(c.Caddy.Load(c.Ctx, c.Caddyfile(c.Running)))
	a.shows(a.get(back), http.StatusOK, connectedTitle)
	c.works("globex")
}
