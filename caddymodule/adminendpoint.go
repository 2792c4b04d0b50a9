package caddymodule

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

// adminRemedy is how to have the endpoint for the administrator alone.
const adminRemedy = "Have it listen on a Unix socket: the global option 'admin unix//run/upstream-auth/admin.sock', " +
	"and --address unix//run/upstream-auth/admin.sock for commands; or 'admin off'."

// adminEndpoint looks at who can reach the administration endpoint: whoever can may have
// Caddy load a configuration that sends each credential elsewhere.
func adminEndpoint(ctx caddy.Context) explain.Check {
	const name = "admin"
	return explain.Check{Name: name, AtStart: true, Look: func(context.Context) []credential.Finding {
		listen := adminListener(ctx)
		if listen == "" {
			return nil
		}
		address, err := caddy.ParseNetworkAddress(listen)
		found := credential.Finding{Check: name, OK: true, Detail: "the administration endpoint listens at " + listen}
		switch {
		case err != nil, address.IsFdNetwork(): // whose it is, who opened it knows
		case address.IsUnixNetwork():
			path, _, _ := strings.Cut(address.Host, "|")
			if info, err := os.Stat(path); err == nil && info.Mode()&0o002 != 0 {
				found.OK = false
				found.Detail += fmt.Sprintf(", which everybody on this machine can use: it has mode %04o", info.Mode().Perm())
				found.Remedy = fmt.Sprintf("Leave the mode out of the global option admin, or have it be 0600: admin unix/%s|0600", path)
			}
		case credential.IsLoopback(address.Host):
			found.Warning = true
			found.Detail += ": every user and process of this machine can take all credentials by it. " + adminRemedy
		default:
			found.OK = false
			found.Detail += ": whoever reaches that address can take all credentials by it"
			found.Remedy = adminRemedy
		}
		return []credential.Finding{found}
	}}
}

// adminListener returns where the configuration of ctx has the administration endpoint
// listen; empty if there is none. Caddy tells that to no module, so this looks at where it
// has it, and finds none if it is not there any more.
func adminListener(ctx caddy.Context) string {
	admin := reflect.ValueOf(ctx)
	for _, field := range []string{"cfg", "Admin"} {
		if admin = admin.FieldByName(field); admin.Kind() != reflect.Pointer || admin.IsNil() {
			return ""
		}
		admin = admin.Elem()
	}
	listen, disabled := admin.FieldByName("Listen"), admin.FieldByName("Disabled")
	if listen.Kind() != reflect.String || disabled.Kind() != reflect.Bool || disabled.Bool() {
		return ""
	}
	if address, err := caddy.NewReplacer().ReplaceOrErr(listen.String(), true, true); err == nil && address != "" {
		return address
	}
	return caddy.DefaultAdminListen
}
