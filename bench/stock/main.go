// Command stock is Caddy as anybody builds it: its own modules, none of ours, and
// none of our flags.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // all of Caddy's own modules
)

func main() {
	caddycmd.Main()
}
