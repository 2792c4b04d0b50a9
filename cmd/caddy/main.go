// Command caddy is Caddy with the upstream_auth modules built in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // all of Caddy's own modules

	_ "github.com/upstreamauth/caddy-upstream-auth/caddymodule" // ours
)

func main() {
	tuneCollector()
	caddycmd.Main()
}
