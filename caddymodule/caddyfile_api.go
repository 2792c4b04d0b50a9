package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// parseAPI sets up the credentials API from Caddyfile tokens. Syntax:
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
//	}
//
// There is one token, and of url and file one.
func parseAPI(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	api := new(API)
	if err := api.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	app, _, err := findProvider(h, api.Provider)
	if err != nil {
		return nil, err
	}
	if readOnly, err := app.storeReadOnly(); err != nil {
		return nil, h.WrapErr(err)
	} else if readOnly {
		return nil, h.WrapErr(needsCheckAndSet("upstream_auth_api"))
	}
	if _, err := api.bearerConfig(config.AdaptingResolver()); err != nil {
		return nil, h.WrapErr(err)
	}
	return api, nil
}

// UnmarshalCaddyfile reads the directive; the syntax stands above.
func (a *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := config.OneArg(d, &a.Provider); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "token":
			err = a.unmarshalToken(d)
		case "issuer":
			err = config.OneArg(d, &a.Issuer)
		case "audience":
			err = config.OneArg(d, &a.Audience)
		case "tenant_claim":
			err = config.OneArg(d, &a.TenantClaim)
		case "operators":
			err = a.unmarshalOperators(d)
		case "cors_origins":
			if err = config.ManyArgs(d, &a.CORSOrigins); err == nil {
				_, originsErr := parseOrigins(a.CORSOrigins)
				err = config.WrapErr(d, "", originsErr)
			}
		default:
			err = d.Errf("unrecognized subdirective '%s' of upstream_auth_api", name)
		}
		if err != nil {
			return err
		}
	}
	if a.Token == nil {
		return d.Err("upstream_auth_api needs token: hs256 or jwks")
	}
	return nil
}

// unmarshalToken reads: token hs256|jwks { … }
func (a *API) unmarshalToken(d *caddyfile.Dispenser) error {
	if a.Token != nil {
		return d.Err("token is given twice")
	}
	var kind string
	if err := config.OneArg(d, &kind); err != nil {
		return err
	}
	if kind != "hs256" && kind != "jwks" {
		return d.Errf("token '%s' is neither hs256 nor jwks", kind)
	}
	a.Token = new(Token)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); {
		case name == "secret_file" && kind == "hs256":
			err = config.FileArg(d, &a.Token.SecretFile)
		case name == "url" && kind == "jwks":
			err = config.EndpointArg(d, &a.Token.KeySetURL)
		case name == "file" && kind == "jwks":
			err = config.FileArg(d, &a.Token.KeySetFile)
		case name == "algorithms" && kind == "jwks":
			err = config.ManyArgs(d, &a.Token.Algorithms)
		default:
			err = d.Errf("unrecognized subdirective '%s' of token %s", name, kind)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case kind == "hs256" && a.Token.SecretFile == "":
		return d.Err("token hs256 needs secret_file")
	case kind == "jwks" && (a.Token.KeySetURL == "") == (a.Token.KeySetFile == ""):
		return d.Err("token jwks needs one of url and file")
	case kind == "jwks" && len(a.Token.Algorithms) == 0:
		return d.Err("token jwks needs algorithms")
	}
	return nil
}

// unmarshalOperators reads: operators <claim> <value>
func (a *API) unmarshalOperators(d *caddyfile.Dispenser) error {
	if a.Operators != nil {
		return d.Err("operators is given twice")
	}
	claim, value, err := config.NamedArg(d)
	if err != nil {
		return err
	}
	if strings.TrimSpace(claim) == "" || value == "" {
		return d.ArgErr()
	}
	a.Operators = &Operators{Claim: claim, Value: value}
	return nil
}
