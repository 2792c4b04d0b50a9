package caddymodule_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// JSON can leave out what a Caddyfile cannot. That is an error, and not the end of a
// running Caddy that is given such a configuration.
func TestNullsInTheJSON(t *testing.T) {
	const provider = `{"schemes":[{"scheme":"header","name":"X-Api-Key","value":"{credential.api_key}"}]}`
	for name, c := range map[string]struct{ provider, proxy, want string }{
		"provider":  {"null", `{"upstreams":[{"dial":"127.0.0.1:1"}]}`, "provider billing: there are no settings"},
		"proxy":     {provider, "null", ""},
		"transport": {provider, `{"upstreams":[{"dial":"127.0.0.1:1"}],"transport":null}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conf := `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{
				"upstream_auth":{"store":{"type":"local","path":"/tmp/credentials.db","key_file":"/tmp/key"},"providers":{"billing":` + c.provider + `}},
				"http":{"servers":{"a":{"listen":["127.0.0.1:1"],"routes":[{"handle":[{"handler":"upstream_auth","provider":"billing","proxy":` + c.proxy + `}]}]}}}}}`
			var parsed caddy.Config
			if err := caddy.StrictUnmarshalJSON([]byte(conf), &parsed); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&parsed)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

// A site that is served by http and by https has its handlers twice.
func TestConnectOfASiteServedInTwoWays(t *testing.T) {
	site := func(first, second string) string {
		return inProvider("oauth2 {\ntoken_url https://as.example/token\nauthorization_url https://as.example/authorize\nclient_id app\nclient_auth none\n}") +
			first + " {\ntls internal\nupstream_auth_connect billing {\nredirect_uris https://connect.example.com/callback\n}\n}\n" + second
	}
	for name, c := range map[string]struct{ caddyfile, want string }{
		"the same twice": {site("http://connect.example.com, https://connect.example.com", ""), ""},
		"two":            {site("https://connect.example.com", "https://other.example.com {\ntls internal\nupstream_auth_connect billing {\nredirect_uris https://other.example.com/callback\n}\n}\n"), "provider billing: there are two ways to connect: give one several redirect_uris"},
	} {
		text, err := adapt(t, c.caddyfile)
		if err != nil {
			t.Fatal(err)
		}
		var parsed caddy.Config
		if err := caddy.StrictUnmarshalJSON([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		parsed.StorageRaw = []byte(`{"module":"file_system","root":"` + t.TempDir() + `"}`)
		err = caddy.Validate(&parsed)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got error %v, want %q", name, err, c.want)
		}
	}
}
