package api

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// UnmarshalCaddyfile sets up the credentials API. Syntax:
//
//	upstream_auth_api [<matcher>] <provider> {
//	    token hs256 {
//	        secret_file <file>
//	    }
//	    token jwks {
//	        url        <url>
//	        file       <file>
//	        algorithms <algorithms...>
//	    }
//	    issuer       <issuer>
//	    audience     <audience>
//	    tenant_claim <path>
//	    operators    <claim> <value>
//	    cors_origins <origins...>
//	    max_token_lifetime <duration>
//	}
//
// There is one token, and of url and file one.
func (a *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := config.OneArg(d, &a.Provider); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "cors_origins":
			if err = config.ManyArgs(d, &a.CORSOrigins); err == nil {
				_, originsErr := parseOrigins(a.CORSOrigins)
				err = config.WrapErr(d, "", originsErr)
			}
		default:
			err = config.BearerArg(d, &a.Config, "upstream_auth_api")
		}
		if err != nil {
			return err
		}
	}
	_, err := config.ResolveBearer(a.Config, config.AdaptingResolver())
	return config.WrapErr(d, "upstream_auth_api", err)
}
