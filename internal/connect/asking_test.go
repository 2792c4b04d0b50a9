package connect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// ofShops is the way to connect shops, each of which has an authorization server of its own.
func ofShops(t *testing.T) func(*Config) {
	return func(c *Config) {
		allowed, err := hosts.Parse([]string{"*.shops.example"})
		if err != nil {
			t.Fatal(err)
		}
		c.Issuer, c.AuthorizationURL = "", literal("https://{credential.shop.name}.shops.example/authorize")
		c.OAuth2 = newOAuth2(t, "https://{credential.shop.name}.shops.example/token", func(o *oauth2.Config) { o.TokenHosts = allowed })
		c.Ask = []Question{{Path: "shop.name", Label: "The shop's <name>"}}
	}
}

func newShopFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, ofShops(t))
	f.server.issuer = "https://acme.shops.example"
	return f
}

// answer sends the form of a link's page with the name of a shop.
func (f *fixture) answer(link, shop string) (code int, address string) {
	f.t.Helper()
	page := f.browser.get(f.t, f.Flow, link)
	response := f.browser.post(f.t, f.Flow, link, url.Values{"form": {formOf(page)}, "ask.shop.name": {shop}})
	return response.Code, response.Header().Get("Location")
}

func TestAPersonIsAskedForWhatTheServersTake(t *testing.T) {
	f := newShopFixture(t)
	link := f.link("")
	page := f.browser.get(t, f.Flow, link).Body.String()
	for _, part := range []string{"at <b>crm</b>.", "The shop&#39;s &lt;name&gt;:", `name="ask.shop.name" required`, "Go on to crm"} {
		if !strings.Contains(page, part) {
			t.Errorf("page without %s:\n%s", part, page)
		}
	}
	for shop, want := range map[string]int{"": http.StatusBadRequest, " \t": http.StatusBadRequest, strings.Repeat("x", maxForm): http.StatusBadRequest, "evil.example/": http.StatusUnprocessableEntity, "a.b": http.StatusUnprocessableEntity} {
		if code, address := f.answer(link, shop); code != want || address != "" {
			t.Errorf("%.20q: %d, sent to %s: %v", shop, code, address, f.log.last())
		}
	}
	code, address := f.answer(link, " acme ")
	if code != http.StatusSeeOther {
		t.Fatalf("%d: %v", code, f.log.last())
	}
	f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, address)))
	var document struct {
		Shop        struct{ Name string }
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(f.accepted[0]), &document); err != nil || document.Shop.Name != "acme" || document.AccessToken == "" {
		t.Errorf("%s, %v", f.accepted, err)
	}
}

func TestALinkAnswersItself(t *testing.T) {
	f := newShopFixture(t)
	link := f.linkWith(LinkOptions{Parameters: map[string]string{"shop.name": "acme"}}).URL
	page := f.browser.get(t, f.Flow, link).Body.String()
	if strings.Contains(page, "ask.") || !strings.Contains(page, "<b>acme.shops.example</b> (crm)") {
		t.Errorf("page\n%s", page)
	}
	_, address := f.answer(link, "globex") // nobody asked
	f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, address)))
	for name, parameters := range map[string]map[string]string{
		"what nobody asks for": {"access_token": "x"},
		"an empty answer":      {"shop.name": ""},
		"a long one":           {"shop.name": strings.Repeat("x", maxGiven)},
	} {
		if _, err := f.Link(t.Context(), tenant, LinkOptions{Parameters: parameters}); !errors.Is(err, ErrParameters) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What comes back goes to the server that the browser was sent to, whoever else opens the
// link meanwhile, so that no server gets another's code.
func TestEachAttemptHasItsOwnServer(t *testing.T) {
	f := newShopFixture(t)
	link := f.link("")
	_, address := f.answer(link, "acme")
	back := f.server.consent(t, address)
	if code, _ := f.answer(link, "evil"); code != http.StatusSeeOther {
		t.Fatal(code)
	}
	f.wantConnected(f.browser.get(t, f.Flow, back)) // the server refuses to be asked as another
	if !strings.Contains(f.accepted[0], `"acme"`) {
		t.Errorf("accepted %s", f.accepted)
	}
}

func TestATenantBringsItsOwnClient(t *testing.T) {
	for name, stored := range map[string]string{
		"no credential":        "",
		"one without a client": `{"access_token":"old"}`,
		"a client":             `{"client":{"id":"client","secret":"` + clientSecret + `"},"access_token":"old","note":"of another account","expires_at":"2100-01-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) {
				c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
					o.ClientID, o.ClientSecrets = literal("{credential.client.id}"), []oauth2.Secret{{Text: literal("{credential.client.secret}")}}
				})
				c.Stored = func(_ context.Context, of credential.Tenant) (*credential.Credential, error) {
					if stored == "" || of != tenant {
						return nil, credential.ErrNotFound
					}
					return credential.New(credential.Document{Data: []byte(stored)})
				}
			})
			if name != "a client" {
				f.wantFailure(f.browser.begin(t, f.Flow, f.link("")), credential.ErrInvalid)
				return
			}
			f.wantConnected(f.connect(""))
			for part, there := range map[string]bool{`"id":"client"`: true, "note": false, "old": false, "2100": false} {
				if strings.Contains(f.accepted[0], part) != there {
					t.Errorf("%s: accepted %s", part, f.accepted)
				}
			}
		})
	}
}

func TestServersThatRefusePKCE(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
			o.WithoutPKCE, o.ScopeSeparator = true, ","
			o.Resources = []*template.Template{literal("https://api.example")}
		})
		c.TokenParams = map[string]*template.Template{"type": literal("web_server")}
	})
	f.server.metadata["code_challenge_methods_supported"] = []string{"plain"}
	f.server.replaced["/token"] = func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Has("code_verifier") || r.PostForm.Get("type") != "web_server" || r.PostForm.Get("resource") != "https://api.example" {
			t.Errorf("%v, %v", r.PostForm, err)
		}
		f.server.serve(w, map[string]any{"access_token": "canary-a1", "token_type": "Bearer"})
	}
	address := f.start(f.link(""))
	if u, err := url.Parse(address); err != nil || u.Query().Has("code_challenge") || u.Query().Get("scope") != "openid,offline_access" || u.Query().Get("resource") != "https://api.example" {
		t.Errorf("sent to %s, %v", address, err)
	}
	back := callbackURI + "?" + url.Values{"code": {"canary-c"}, "state": {parameter(t, address, "state")}, "iss": {f.server.issuer}}.Encode()
	f.wantConnected(f.browser.get(t, f.Flow, back))
}

func TestTheOtherSecretIsTriedForACode(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
			o.ClientSecrets = []oauth2.Secret{{Text: literal("old")}, {Text: literal(clientSecret)}}
		})
	})
	f.wantConnected(f.connect(""))
	if n := f.server.count("/token"); n != 2 {
		t.Errorf("%d token requests", n)
	}
}
