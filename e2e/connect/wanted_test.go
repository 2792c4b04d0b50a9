package connect

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// linkWanting asks for a link as the tenant, with what it is to want.
func (c *connecting) linkWanting(tenant string, options map[string]any) (link, code string) {
	c.Helper()
	res := c.askFor(http.MethodPost, plain, "/self", map[string]any{"id": tenant}, options)
	var made struct{ Handoff string }
	c.Check(json.Unmarshal(res.Content, &made))
	return c.linkOf(plain, res), made.Handoff
}

// A link that wants a code is of no use to who has the link alone.
func TestHandoff(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	link, code := c.linkWanting("acme", map[string]any{"handoff": true})
	thief := c.newPerson()
	for _, guess := range []string{"", "AAAAAAAAAA"} {
		thief.shows(thief.answers(link, guess), http.StatusForbidden, wrongCodeTitle)
	}
	p := c.newPerson()
	consent := p.answers(link, code).Header.Get("Location")
	p.shows(p.get(p.decide(consent, "acme", "allow")), http.StatusOK, connectedTitle)
	c.works("acme")

	link, code = c.linkWanting("globex", map[string]any{"handoff": true})
	p.connects(link+"&handoff="+code, "globex") // as the application sends the browser there
	c.works("globex")
}

// A link that is for one account connects no other, whose tokens are revoked.
func TestOtherAccountIsRefused(t *testing.T) {
	t.Parallel()
	c := prepareConnecting(t)
	conf := c.configuration()
	conf.OAuth2 += "\nrevocation_url " + c.AuthURL + "/revoke"
	c.Start(conf)
	c.front.leadTo(c.World)
	for tenant, account := range map[string]map[string]any{
		"acme": {"sub": "acme"}, "globex": {"tid": "tid-globex", "account": "account of globex"},
	} {
		link, _ := c.linkWanting(tenant, map[string]any{"account": account})
		p := c.newPerson()
		before := len(c.Auth.Revocations())
		p.shows(p.get(p.consent(link, "mallory")), http.StatusForbidden, otherTitle)
		revoked := c.Auth.Revocations()[before:]
		if len(revoked) != 2 || revoked[0].Tenant != "mallory" || !revoked[0].Accepted || !revoked[1].Accepted {
			t.Errorf("revocations %+v", revoked)
		}
		if got := c.versions(plain, tenant); got != 0 {
			t.Errorf("%d versions in Vault", got)
		}
		p.connects(link, tenant)
		c.works(tenant)
	}
}

// What one link may use up is its own, at all replicas together, and so is what a tenant
// may have.
func TestOneLinkDoesNotShutConnectingDown(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	link := c.link(plain, "acme", "")
	p := c.newPerson()
	var back string
	refused := 0
	for range 15 {
		res := p.answers(link, "")
		switch res.StatusCode {
		case http.StatusSeeOther:
			back = p.decide(res.Header.Get("Location"), "acme", "allow")
		default:
			p.shows(res, http.StatusTooManyRequests, tooOftenTitle)
			if after, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || after < 300 || after > 600 {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d of 15 attempts were refused", refused)
	}
	c.newPerson().connects(c.link(plain, "globex", ""), "globex")
	c.newPerson().connects(c.link(plain, "acme", ""), "acme")
	p.shows(p.get(back), http.StatusOK, connectedTitle)
	c.Asked("acme", authserver.Granted, authserver.Granted)
}

// The journals' key is for the journals alone, and links have keys of their own.
func TestLinksHaveTheirOwnKeys(t *testing.T) {
	t.Parallel()
	c := newConnecting(t)
	c.newPerson().connects(c.link(plain, "acme", ""), "acme")
	c.Check(c.Auth.Expire("acme"))
	c.works("acme")
	c.Settled("acme")
	vault := c.Vault.Root.KVv2("secret")
	journal, err := vault.Get(c.Ctx, "upstream-auth/_journal")
	c.Check(err)
	links, err := vault.Get(c.Ctx, "upstream-auth/_links")
	c.Check(err)
	sealing := links.Data["keys"].([]any)[0].(map[string]any)["key"]
	if sealing == "" || sealing == journal.Data["key"] {
		t.Error("links are sealed with the journals' key")
	}

	// Who deletes the links' keys by hand withdraws all links.
	link := c.link(plain, "globex", "")
	c.Check(vault.Delete(c.Ctx, "upstream-auth/_links"))
	p := c.newPerson()
	c.Eventually(func() error {
		if res := p.get(link); res.StatusCode != http.StatusBadRequest {
			return errors.New("the link opens still")
		}
		return nil
	})
	p.connects(c.link(plain, "globex", ""), "globex")
}
