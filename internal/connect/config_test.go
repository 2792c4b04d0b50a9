package connect

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func newConfig(t testing.TB) Config {
	t.Helper()
	return Config{
		Provider: "crm", OAuth2: newOAuth2(t, "https://as.example/token", nil),
		Issuer: "https://as.example", RedirectURIs: []string{callbackURI},
		Links:  links.New(storetest.NewMemory()),
		Accept: func(context.Context, credential.Tenant, []byte) error { return nil },
	}
}

func TestConfigsThatCannotWork(t *testing.T) {
	field := func(field, from string) []oauth2.FieldMapping {
		return []oauth2.FieldMapping{{Field: field, From: from}}
	}
	for want, change := range map[string]func(*Config){
		"provider name":                               func(c *Config) { c.Provider = "CRM" },
		"has no oauth2":                               func(c *Config) { c.OAuth2 = nil },
		"issuer or authorization_url":                 func(c *Config) { c.Issuer = "" },
		"issuer is no endpoint: must be https":        func(c *Config) { c.Issuer = "http://as.example" },
		"issuer must not have a query":                func(c *Config) { c.Issuer = "https://as.example?x" },
		"issuer is no endpoint: a URL with user":      func(c *Config) { c.Issuer = "https://as.example#" },
		"issuer is no endpoint: not an absolute":      func(c *Config) { c.Issuer = "as.example" },
		"issuer is no endpoint: a URL with user info": func(c *Config) { c.Issuer = "https://canary@as.example" },
		"authorization_url is no endpoint: must be":   func(c *Config) { c.AuthorizationURL = literal("ftp://as.example") },
		"authorization_url has a param":               func(c *Config) { c.AuthorizationURL = literal("https://as.example/?client_id=x") },
		"authorization_url has a query":               func(c *Config) { c.AuthorizationURL = literal("https://as.example/?x=%zz") },
		"userinfo_url is no endpoint: must be https":  func(c *Config) { c.UserinfoURL = literal("http://as.example") },
		"is not a scope":                              func(c *Config) { c.Scopes = []*template.Template{literal("a b")} },
		"without a name":                              func(c *Config) { c.Params = map[string]*template.Template{"": literal("x")} },
		"state is set by the protocol":                func(c *Config) { c.Params = map[string]*template.Template{"state": literal("x")} },
		"link_ttl":                                    func(c *Config) { c.LinkTTL = 24*time.Hour + 1 },
		"link_ttl must":                               func(c *Config) { c.LinkTTL = -1 },
		"link_ttl must be":                            func(c *Config) { c.LinkTTL = time.Millisecond },
		"id token need an issuer": func(c *Config) {
			c.Issuer, c.AuthorizationURL, c.IDTokenFields = "", literal("https://as.example/a"), field("a", "b")
		},
		"userinfo need a userinfo_url": func(c *Config) {
			c.Issuer, c.AuthorizationURL, c.UserinfoFields = "", literal("https://as.example/a"), field("a", "b")
		},
		"to take it from is missing": func(c *Config) { c.UserinfoFields = field("a", "") },
		"cannot stand in the path":   func(c *Config) { c.UserinfoFields = field("a.#", "b") },
		"index 0 cannot stand here":  func(c *Config) { c.UserinfoFields = field("a.0", "b") },
		"empty key":                  func(c *Config) { c.UserinfoFields = field("", "b") },
		"unknown modifier":           func(c *Config) { c.UserinfoFields = field("a", "b|@nobody") },
		`"host" and "host" overlap`: func(c *Config) {
			c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) { o.FirstFields = field("host", "b") })
			c.IDTokenFields = field("host", "b")
		},
		"_upstream_auth is reserved":     func(c *Config) { c.IDTokenFields = field("_upstream_auth.status", "b") },
		`"access_token" and "access_tok`: func(c *Config) { c.IDTokenFields = field("access_token", "b") },
		`"expires_at" and "expires_at.x`: func(c *Config) { c.IDTokenFields = field("expires_at.x", "b") },
		`"a.b" and "a" overlap`: func(c *Config) {
			c.IDTokenFields, c.UserinfoFields = field("a.b", "b"), field("a", "b")
		},
		"redirect_uri is missing":                    func(c *Config) { c.RedirectURIs = nil },
		"redirect_uri is no endpoint: must be https": func(c *Config) { c.RedirectURIs = []string{"http://h/cb"} },
		"redirect_uri needs a path":                  func(c *Config) { c.RedirectURIs = []string{"https://h"} },
		"redirect_uri must not have a q":             func(c *Config) { c.RedirectURIs = []string{"https://h/cb?"} },
		"redirect_uri is no endpoint: a URL with":    func(c *Config) { c.RedirectURIs = []string{"https://h/cb#x"} },
		"redirect_uri must not end in":               func(c *Config) { c.RedirectURIs = []string{"https://h/oauth/connect"} },
		"redirect_uri has a path with":               func(c *Config) { c.RedirectURIs = []string{"https://h/a/../cb"} },
		"with escapes":                               func(c *Config) { c.RedirectURIs = []string{"https://h/a%20b"} },
		"redirect_uri is longer":                     func(c *Config) { c.RedirectURIs = []string{"https://h/" + long("x", maxReturnTo)} },
		"redirect_uri is there twice":                func(c *Config) { c.RedirectURIs = []string{"https://h/cb", "https://H:443/cb"} },
		"return_to is no endpoint: must be https":    func(c *Config) { c.ReturnTo = []string{"http://app.example/"} },
		"return_to must not have a que":              func(c *Config) { c.ReturnTo = []string{"https://app.example/?x"} },
		"return_to has a path with dot":              func(c *Config) { c.ReturnTo = []string{"https://app.example/a/%2e%2e/"} },
		"Links and Accept":                           func(c *Config) { c.Links = nil },
		"application: is not one line":               func(c *Config) { c.Application = "a\nb" },
		"at most 100 characters":                     func(c *Config) { c.Application = long("x", 101) },
		"and Accept are":                             func(c *Config) { c.Accept = nil },
	} {
		t.Run(want, func(t *testing.T) {
			c := newConfig(t)
			change(&c)
			f, err := New(c)
			if err == nil || f != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v", err)
			} else if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes the address: %v", err)
			}
		})
	}
}

func TestTheProtocolsOwnParametersAreRefused(t *testing.T) {
	for _, name := range []string{
		"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
		"nonce", "response_mode", "request", "request_uri",
	} {
		c := newConfig(t)
		c.Params = map[string]*template.Template{name: literal("x")}
		if name == "request" { // a constant of the operator's moves no answer
			c.Params[name] = literal("{credential.request}")
		}
		if c.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestConfigsThatWork(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"the least":      func(*Config) {},
		"on one machine": func(c *Config) { c.Issuer, c.RedirectURIs = "http://[::1]:9000/x", []string{"http://localhost/cb"} },
		"without an issuer": func(c *Config) {
			c.Issuer, c.AuthorizationURL = "", literal("https://as.example/authorize?x=y")
		},
		"the longest link":       func(c *Config) { c.LinkTTL = MaxLinkTTL },
		"fields":                 func(c *Config) { c.IDTokenFields = []oauth2.FieldMapping{{Field: "a-1.b_c", From: "x.#(y).z"}} },
		"a directory for a path": func(c *Config) { c.RedirectURIs = []string{"https://h/", "https://h/oauth/"} },
	} {
		c := newConfig(t)
		change(&c)
		if _, err := New(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewCopiesItsConfig(t *testing.T) {
	params := map[string]*template.Template{"prompt": literal("consent")}
	f := newFixture(t, func(c *Config) { c.Params = params })
	maps.Copy(params, map[string]*template.Template{"prompt": literal("none"), "state": literal("forged")})
	address := f.start(f.link(""))
	if parameter(t, address, "prompt") != "consent" || parameter(t, address, "state") == "forged" {
		t.Errorf("sent to %s", address)
	}
}
