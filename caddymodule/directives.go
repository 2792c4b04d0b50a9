package caddymodule

import "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

// Each stands before reverse_proxy, and so in the order in which they are registered:
// what answers some paths by itself goes before what proxies all of them.
func init() {
	for _, directive := range []struct {
		name  string
		parse httpcaddyfile.UnmarshalHandlerFunc
	}{
		{"upstream_auth_connect", parseConnect},
		{"upstream_auth_api", parseAPI},
		{"upstream_auth", parseDirective},
	} {
		httpcaddyfile.RegisterHandlerDirective(directive.name, directive.parse)
		httpcaddyfile.RegisterDirectiveOrder(directive.name, httpcaddyfile.Before, "reverse_proxy")
	}
}
