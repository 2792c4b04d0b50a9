package connect

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What was connected is a credential like any other: it has the fields that are mapped
// into it, is used by the next request, and is refreshed.
func TestConnectedCredential(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	c.Expect(world.Request{Tenant: "acme", ID: "not connected yet"}, 403) // which is remembered for a while
	c.newPerson().connects(c.link(plain, "acme", ""), "acme")
	c.works("acme")
	c.has("acme", map[string]any{
		"instance_host": "first.crm.example", "tid": "tid-acme", "account": "account of acme", "token_type": "bearer", "scope": "openid api",
	})
	c.Check(c.NewestStored("acme"))

	c.Check(c.Auth.Expire("acme"))
	c.works("acme")
	c.Settled("acme")
	c.has("acme", map[string]any{"instance_host": "second.crm.example", "tid": "tid-acme", "account": "account of acme"})
	c.Asked("acme", authserver.Granted, authserver.Rotated)

	c.newPerson().connects(c.operatorsLink(plain, "globex"), "globex")
	c.works("globex")
	c.Eventually(func() error {
		log, err := os.ReadFile(filepath.Join(c.Caddy.Dir, connectLog))
		if err == nil && bytes.Count(log, []byte(callback(plain))) != 2 {
			err = errors.New("the access log has not both callbacks")
		}
		return err
	})
}

// has checks fields of what lies in Vault.
func (c *connecting) has(tenant string, want map[string]any) {
	c.Helper()
	got := c.fields(tenant)
	for name, value := range want {
		if got[name] != value {
			c.Errorf("%s of %s is %v, not %v", name, tenant, got[name], value)
		}
	}
}

// A credential that is beyond refreshing is replaced by the next connection, and the
// same replica uses the new one at once.
func TestReconnectingReplacesADeadCredential(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	for round := range 2 {
		c.newPerson().connects(c.link(plain, "acme", ""), "acme")
		c.works("acme")
		c.Check(c.Auth.Revoke("acme"))
		for i := range 2 {
			res := c.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("revoked ", round, i)}, 401)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" {
				t.Errorf("code %q", code)
			}
		}
		c.Check(c.HasStatus("acme", "reauthorization_required"))
	}
	c.newPerson().connects(c.link(plain, "acme", ""), "acme")
	c.works("acme")
	c.Settled("acme")
}

// The browser is sent where the link says, with the outcome and nothing else.
func TestReturnTo(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	p := c.newPerson()
	returns := func(res world.Response, want string) {
		t.Helper()
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != c.app+want || len(res.Content) > 0 {
			t.Errorf("%d, %s, %q", res.StatusCode, strings.TrimPrefix(got, c.app), res.Content)
		}
	}
	returns(p.get(p.consent(c.link(plain, "acme", c.app+"/tenants/7?tab=crm"), "acme")), "/tenants/7?status=success&tab=crm")
	c.works("acme")
	returns(p.get(p.consent(c.link(plain, "globex", c.app+"/done"), "globex")), "/done?status=success")
	c.works("globex")

	link := c.link(plain, "initech", c.app+"/done?status=success")
	returns(p.get(p.decide(p.open(link), "initech", "deny")), "/done?status=error")
	returns(p.get(p.with(p.consent(link, "initech"), without("iss"))), "/done?status=error")
	// As long as nobody knows whose browser it is, it is sent nowhere.
	p.shows(c.newPerson().get(p.consent(link, "initech")), http.StatusForbidden, notBegunTitle)
	p.shows(p.get(p.with(p.consent(link, "initech"), forging("state"))), http.StatusBadRequest, forgedTitle)
	if got := c.versions(plain, "initech"); got != 0 {
		t.Errorf("%d versions in Vault", got)
	}

	for _, elsewhere := range []string{
		c.app, c.app + "/", c.app + "/done/", c.app + "/tenants/../done", onLocalhost(c.app) + "/done", "//evil.example/done",
	} {
		if res := c.askForLink(plain, "/self", map[string]any{"id": "acme"}, elsewhere); res.StatusCode != http.StatusBadRequest {
			t.Errorf("a link that returns to %s: %d", elsewhere, res.StatusCode)
		}
	}
}

// The directive goes by the addresses that the browser sees: below a path that Caddy
// takes off, which its debug log tells, and at each of several redirect URIs.
func TestConnectingAtOtherAddresses(t *testing.T) {
	t.Parallel()
	c := prepareConnecting(t)
	filtered := c.configuration()
	filtered.Global = "log default {\n" + c.exampleFilter() + "\n}"
	c.Start(filtered)
	c.front.leadTo(c.World)

	p := c.newPerson()
	p.connects(c.link(nested, "acme", ""), "acme")
	if got := c.versions(nested, "acme"); got != 1 {
		t.Errorf("below a path: %d versions in Vault", got)
	}
	if !bytes.Contains(c.Caddy.Output(), []byte(`"uri":"/oauth/callback?`)) {
		t.Error("the debug log does not tell what was taken off")
	}
	for i, address := range c.front.addresses("") {
		tenant := fmt.Sprint("tenant-", i)
		link := strings.Replace(c.link(plain, tenant, ""), c.front.plain.URL, address, 1)
		consent, err := url.Parse(p.open(link))
		c.Check(err)
		if got := consent.Query().Get("redirect_uri"); got != address+callback(plain) {
			t.Errorf("at %s: redirect_uri %s", address, got)
		}
		p.shows(p.get(p.decide(consent.String(), tenant, "allow")), http.StatusOK, connectedTitle)
		c.works(tenant)
	}
}

// Other methods are refused, and other paths are somebody else's.
func TestConnectTakesItsOwn(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	p := c.newPerson()
	link := c.link(plain, "acme", "")
	back := p.consent(link, "acme")
	for address, allowed := range map[string]string{link: "GET, POST", back: "GET"} {
		for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions} {
			if strings.Contains(allowed, method) {
				continue
			}
			req, err := http.NewRequestWithContext(c.Ctx, method, address, nil)
			c.Check(err)
			res := p.do(req)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != allowed || len(res.Cookies()) > 0 {
				t.Errorf("%s: %d, Allow %q, %d cookies", method, res.StatusCode, res.Header.Get("Allow"), len(res.Cookies()))
			}
		}
	}
	for _, path := range []string{
		"/", "/connect", "/callback", "/oauth/callback",
		"/api/oauth/", "/api/oauth/connect/", "/api/oauth/callback/x", "/api/oauth/Connect", "/api/oauth%2Fconnect",
	} {
		if res := c.newPerson().get(c.front.plain.URL + path + "?" + strings.SplitN(link, "?", 2)[1]); res.StatusCode != 418 {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.Content)
		}
	}
	p.shows(p.get(back), http.StatusOK, connectedTitle)
}
