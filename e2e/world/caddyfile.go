package world

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Configuration is what differs between the Caddyfiles of the tests. The blocks
// are lines for the place that their name says.
type Configuration struct {
	Global   string
	Quiet    bool   // no debug log
	Journal  string // directory; default: the product's own default
	Store    string
	Provider string
	OAuth2   string
	Others   string // providers beside that one
	Keys     bool   // the provider takes API keys, and has no oauth2
	Public   bool   // the client has no secret
	Schemes  string // instead of oauth2
	Client   string // lines that say who asks for tokens; default: the world's client, by its secret
	Sites    []Site // default: one site with all defaults
	Beside   string // whole sites beside them
}

// Site is a virtual host that has upstream_auth.
type Site struct {
	Name     string // default: "app"
	Upstream string // default: the API over HTTP/1.1
	Handler  string // lines of the directive
	Around   string // lines of the site, with %s for the directive; default: that alone
	Log      bool   // the access log is on
}

// Caddyfile writes a configuration for this world.
func (w *World) Caddyfile(c Configuration) string {
	secret := "client_secret_file " + filepath.Join(w.Files, "client-secret")
	if c.Public {
		secret = "client_auth none"
	}
	if c.Client == "" {
		c.Client = "client_id sidecar\n" + secret
	}
	scheme := fmt.Sprintf("oauth2 {\ntoken_url %s/token\n%s\n%s\n}", w.AuthURL, c.Client, c.OAuth2)
	if c.Keys {
		scheme = "header X-Api-Key {credential.apiKey}"
	}
	if c.Schemes != "" {
		scheme = c.Schemes
	}
	debug, journal := "debug", ""
	if c.Quiet {
		debug = ""
	}
	if c.Journal != "" {
		journal = "journal " + c.Journal
	}
	if !strings.Contains(c.Store, "cache_ttl") {
		c.Store += "\ncache_ttl 2s" // what is written to Vault directly is noticed then
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{
	admin %s
	%s
	grace_period 30s
	metrics
	servers {
		protocols h1 h2c
	}
	%s
	upstream_auth {
		store vault {
			address %s
			auth approle {
				role_id_file %s
				secret_id_file %s
			}
			%s
		}
		%s
		provider api {
			%s
			%s
		}
		%s
	}
}
`, w.Caddy.Admin, debug, c.Global, w.Tap.URL, filepath.Join(w.Files, "role-id"), filepath.Join(w.Files, "secret-id"),
		c.Store, journal, c.Provider, scheme, c.Others)

	if c.Sites == nil {
		c.Sites = []Site{{}}
	}
	for _, s := range c.Sites {
		b.WriteString(w.site(s))
	}
	return b.String() + c.Beside
}

func (w *World) site(s Site) string {
	if s.Name == "" {
		s.Name = defaultSite
	}
	if s.Upstream == "" {
		s.Upstream = w.APIURL
	}
	if s.Around == "" {
		s.Around = "%s"
	}
	directive := fmt.Sprintf("upstream_auth api %s {\n%s\n}", s.Upstream, s.Handler)
	access := ""
	if s.Log {
		access = fmt.Sprintf("log {\noutput file %s\n}\n", filepath.Join(w.Caddy.Dir, s.Name+"-access.log"))
	}
	return fmt.Sprintf("http://%s {\nbind fd/3\n%s%s\n}\n", s.Name, access, strings.ReplaceAll(s.Around, "%s", directive))
}

// defaultSite is the host name of a site that has no other.
const defaultSite = "app"

// PatientVault waits for Vault on a busy machine that runs all of this.
const PatientVault = "timeout 20s\n"

// PromptVault makes every request look at Vault, and give up on it soon.
const PromptVault = "timeout 500ms\ncache_ttl 1ms\nstale_if_error 1h"
