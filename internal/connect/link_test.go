package connect

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestLink(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.LinkTTL = time.Hour })
	before := time.Now()
	link := f.linkWith(LinkOptions{ReturnTo: "https://app.example/done"})
	address, expires := link.URL, link.Expires
	if !strings.HasPrefix(address, "https://connect.example/oauth/connect?link=") {
		t.Errorf("address %s", address)
	}
	if ttl := expires.Sub(before); ttl <= time.Hour-2*time.Second || ttl > time.Hour+time.Second {
		t.Errorf("expires in %s", ttl)
	}
	for _, secret := range []string{string(tenant), "app.example", "crm"} {
		if strings.Contains(address, secret) {
			t.Errorf("%s tells %s", address, secret)
		}
	}
	if again := f.link("https://app.example/done"); again == address {
		t.Error("two links are the same")
	}
}

func TestLinkIsRefused(t *testing.T) {
	f := newFixture(t, nil)
	for name, test := range map[string]struct {
		tenant   credential.Tenant
		returnTo string
		err      error
	}{
		"no tenant":      {"", "", credential.ErrTenantMissing},
		"no such tenant": {"a/../b", "", credential.ErrTenantInvalid},
		"return_to":      {tenant, "https://evil.example/canary", ErrReturnTo},
	} {
		link, err := f.Link(t.Context(), test.tenant, LinkOptions{ReturnTo: test.returnTo})
		if !errors.Is(err, test.err) || link != nil {
			t.Errorf("%s: %v, %v", name, link, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error tells too much: %v", name, err)
		}
	}
}

func TestReturnToIsAllowed(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.ReturnTo = []string{"https://app.example/done", "https://app.example/t/", "http://localhost:3000/", "https://root.example"}
	})
	for address, want := range map[string]bool{
		"https://app.example/done":                     true,
		"https://app.example/done?a=b&c":               true,
		"https://app.example:443/done":                 true,
		"https://APP.example/done":                     true,
		"https://app.example/t/":                       true,
		"https://app.example/t/7/x?y":                  true,
		"https://app.example/t/a%2Fb":                  true,
		"http://localhost:3000/":                       true,
		"https://root.example":                         true,
		"https://app.example/t":                        false,
		"https://app.example/done/":                    false,
		"https://app.example/done#x":                   false,
		"https://app.example/done#":                    false,
		"https://app.example/DONE":                     false,
		"https://app.example/%64one":                   false,
		"https://app.example/other":                    false,
		"https://app.example/t/../admin":               false,
		"https://app.example/t/%2e%2e/admin":           false,
		"https://app.example/t/..%2fadmin":             false,
		"https://app.example/t/..\\admin":              false,
		"https://app.example/t/%5c..%5cadmin":          false,
		"https://app.example/t/./x":                    false,
		"https://app.example.evil.example/t/":          false,
		"https://app.example@evil.example/t/":          false,
		"https://user@app.example/t/":                  false,
		"https://app.example:8443/t/":                  false,
		"http://app.example/t/":                        false,
		"//app.example/t/":                             false,
		"/t/":                                          false,
		"javascript:alert(1)":                          false,
		"https:app.example/t/":                         false,
		"https://app.example\\@evil.example/t/":        false,
		" https://app.example/t/":                      false,
		"https://app.example/t/\n":                     false,
		"https://app.example/done?%zz":                 false,
		"http://localhost:3001/":                       false,
		"https://root.example/x":                       false,
		"https://app.example/t/" + long("x", 1024):     false,
		"https://app.example/done?x=" + long("&", 400): true,
	} {
		_, err := f.Link(t.Context(), tenant, LinkOptions{ReturnTo: address})
		if got := err == nil; got != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func TestTheLongestReturnToComesBack(t *testing.T) {
	f := newFixture(t, nil)
	returnTo := "https://app.example/tenants/"
	returnTo += long(`"`, maxReturnTo-len(returnTo))
	response := f.connect(returnTo)
	if got := response.Header().Get("Location"); !strings.HasSuffix(got, "?status=success") {
		t.Errorf("answered %d, %s: %v", response.Code, got, f.log.last())
	}
}

func TestForgedLinks(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	sealed := parameter(t, link, "link")
	foreign := newFixture(t, nil).link("")
	flipped := []byte(sealed)
	flipped[len(flipped)/2] ^= 1
	for name, forged := range map[string]string{
		"nonsense":          "canary",
		"changed":           string(flipped),
		"cut off":           sealed[:len(sealed)-1],
		"lengthened":        sealed + "A",
		"another key's":     parameter(t, foreign, "link"),
		"a state":           parameter(t, f.start(link), "state"),
		"too long":          long("A", 4097),
		"empty but a salt":  long("A", 22),
		"nothing but bytes": "\x00\xff",
	} {
		t.Run(name, func(t *testing.T) {
			f.wantFailure(f.browser.get(t, f.Flow, with(t, link, func(q url.Values) { q["link"] = []string{forged} })), ErrForged)
		})
	}
}

func TestMalformedStarts(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	for name, address := range map[string]string{
		"no link":   "https://connect.example/oauth/connect",
		"empty":     "https://connect.example/oauth/connect?link=",
		"two links": link + "&" + strings.SplitN(link, "?", 2)[1],
		"not read":  link + "&x=%zz",
		"semicolon": link + "&x;y",
		"too long":  link + "&x=" + long("canary", maxQuery),
	} {
		t.Run(name, func(t *testing.T) {
			f.wantFailure(f.browser.get(t, f.Flow, address), ErrMalformed)
			if len(f.browser.cookies) > 0 {
				t.Error("it set a cookie")
			}
		})
	}
}

func TestExpiredLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		link := f.linkWith(LinkOptions{})
		time.Sleep(DefaultLinkTTL - 2*time.Second)
		f.start(link.URL)
		token := formOf(f.browser.get(t, f.Flow, link.URL))
		time.Sleep(time.Until(link.Expires))
		f.wantFailure(f.browser.get(t, f.Flow, link.URL), ErrExpired)
		f.wantFailure(f.browser.post(t, f.Flow, link.URL, url.Values{"form": {token}}), ErrExpired)
	})
}

func TestLinkOfAnotherProvider(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	other := f.newFlow(func(c *Config) { c.Provider = "billing" })
	f.wantFailure(f.browser.get(t, other, link), ErrOtherProvider)
}

func TestLinkIsGoodUntilAnAccountIsConnected(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	if response := newBrowser().get(t, f.Flow, link); response.Code != 200 { // a mail scanner
		t.Fatalf("answered %d", response.Code)
	}
	declined := with(t, f.server.consent(t, f.start(link)), func(q url.Values) { q["error"] = []string{"access_denied"} })
	f.wantFailure(f.browser.get(t, f.Flow, declined), ErrDeclined)

	inAnotherTab := f.server.consent(t, f.start(link))
	f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, f.start(link))))
	f.accepted = nil
	f.wantFailure(f.browser.get(t, f.Flow, link), ErrUsed)
	f.wantFailure(f.browser.get(t, f.Flow, inAnotherTab), ErrUsed)
	if n := f.server.count("/token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestUsedLinkIsRememberedForAsLongAsItsStatesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		link := f.link("")
		time.Sleep(DefaultLinkTTL - time.Second)
		late := f.server.consent(t, f.start(link))
		f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, f.start(link))))
		f.accepted = nil
		time.Sleep(stateTTL - time.Second)
		f.connect("") // makes it forget what has expired
		f.accepted = nil
		f.wantFailure(f.browser.get(t, f.Flow, late), ErrUsed)
	})
}
