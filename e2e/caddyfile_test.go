package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
)

// configuration is what differs between the Caddyfiles of the tests. The blocks
// are lines for the place that their name says.
type configuration struct {
	global   string
	quiet    bool   // no debug log
	journal  string // directory; default: the product's own default
	store    string
	provider string
	oauth2   string
	others   string // providers beside that one
	keys     bool   // the provider takes API keys, and has no oauth2
	public   bool   // the client has no secret
	sites    []site // default: one site with all defaults
}

// site is a virtual host that has upstream_auth.
type site struct {
	name     string // default: "app"
	upstream string // default: the API over HTTP/1.1
	handler  string // lines of the directive
	around   string // lines of the site, with %s for the directive; default: that alone
	log      bool   // the access log is on
}

// caddyfile writes a configuration for this world.
func (w *world) caddyfile(c configuration) string {
	secret := "client_secret_file " + filepath.Join(w.files, "client-secret")
	if c.public {
		secret = "client_auth none"
	}
	scheme := fmt.Sprintf("oauth2 {\ntoken_url %s/token\nclient_id sidecar\n%s\n%s\n}", w.authURL, secret, c.oauth2)
	if c.keys {
		scheme = "header X-Api-Key {credential.apiKey}"
	}
	debug, journal := "debug", ""
	if c.quiet {
		debug = ""
	}
	if c.journal != "" {
		journal = "journal " + c.journal
	}
	if !strings.Contains(c.store, "cache_ttl") {
		c.store += "\ncache_ttl 2s" // what is written to Vault directly is noticed then
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
`, w.caddy.Admin, debug, c.global, w.tap.URL, filepath.Join(w.files, "role-id"), filepath.Join(w.files, "secret-id"),
		c.store, journal, c.provider, scheme, c.others)

	if c.sites == nil {
		c.sites = []site{{}}
	}
	for _, s := range c.sites {
		b.WriteString(w.site(s))
	}
	return b.String()
}

func (w *world) site(s site) string {
	if s.name == "" {
		s.name = defaultSite
	}
	if s.upstream == "" {
		s.upstream = w.apiURL
	}
	if s.around == "" {
		s.around = "%s"
	}
	directive := fmt.Sprintf("upstream_auth api %s {\n%s\n}", s.upstream, s.handler)
	access := ""
	if s.log {
		access = fmt.Sprintf("log {\noutput file %s\n}\n", filepath.Join(w.caddy.Dir, s.name+"-access.log"))
	}
	return fmt.Sprintf("http://%s {\nbind fd/3\n%s%s\n}\n", s.name, access, strings.ReplaceAll(s.around, "%s", directive))
}

// defaultSite is the host name of a site that has no other.
const defaultSite = "app"
