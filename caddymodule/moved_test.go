package caddymodule_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Whoever has JSON of before there were schemes is told what to write, and is not left
// with a provider that sends no credential.
func TestSettingsThatAreSchemesNow(t *testing.T) {
	const scheme = `"schemes":[{"scheme":"header","name":"X-Api-Key","value":"{credential.api_key}"}]`
	for name, c := range map[string]struct{ provider, want string }{
		"header":          {`{"header":[{"name":"X-Api-Key","value":"{credential.api_key}"}]}`, `a provider has no header any more: put {"scheme": "header", "name": …, "value": …} for each into its list schemes`},
		"query":           {`{"query":[{"name":"key","value":"{credential.api_key}"}]}`, `a provider has no query any more: put {"scheme": "query", "name": …, "value": …} for each into its list schemes`},
		"basic":           {`{"basic":{"user":"{credential.api_key}","password":""}}`, `a provider has no basic any more: put {"scheme": "basic", "user": …, "password": …} into its list schemes`},
		"oauth2":          {`{"oauth2":{"token_url":"https://as.example/token","client_id":"a","client_auth":"none"}}`, `a provider has no oauth2 any more: put {"scheme": "oauth2", …} into its list schemes`},
		"beside schemes":  {`{"header":[],` + scheme + `}`, "a provider has no header any more"},
		"null":            {`{"oauth2":null,` + scheme + `}`, "a provider has no oauth2 any more"},
		"never was one":   {`{"cookie":[],` + scheme + `}`, `unknown field "cookie"`},
		"unknown scheme":  {`{"schemes":[{"scheme":"digest"}]}`, "unknown module: upstream_auth.schemes.digest"},
		"unnamed scheme":  {`{"schemes":[{"name":"X-Api-Key","value":"{credential.api_key}"}]}`, "module name not specified with key 'scheme'"},
		"unknown setting": {`{"schemes":[{"scheme":"header","name":"X-Api-Key","value":"{credential.api_key}","values":[]}]}`, `unknown field "values"`},
		"no scheme":       {`{}`, "provider billing: there is no scheme that authenticates requests"},
		"schemes":         {`{` + scheme + `}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conf := `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{
				"upstream_auth":{"store":{"type":"local","path":"/tmp/credentials.db","key_file":"/tmp/key"},"providers":{"billing":` + c.provider + `}}}}`
			var parsed caddy.Config
			if err := json.Unmarshal([]byte(conf), &parsed); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(&parsed)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}
