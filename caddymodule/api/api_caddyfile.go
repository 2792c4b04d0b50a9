package api

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
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
	_, err := a.resolved(config.AdaptingResolver())
	return config.WrapErr(d, "upstream_auth_api", err)
}

// unmarshalToken reads: token hs256|jwks { … }
func (a *API) unmarshalToken(d *caddyfile.Dispenser) error {
	if a.Token.SecretFile+a.Token.KeySetFile+a.Token.KeySetURL != "" {
		return d.Err("token is given twice")
	}
	var kind string
	if err := config.OneArg(d, &kind); err != nil {
		return err
	}
	if kind != "hs256" && kind != "jwks" {
		return d.Errf("token '%s' is neither hs256 nor jwks", kind)
	}
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
	if a.Operators.Claim != "" {
		return d.Err("operators is given twice")
	}
	claim, value, err := config.NamedArg(d)
	if err != nil {
		return err
	}
	if strings.TrimSpace(claim) == "" || value == "" {
		return d.ArgErr()
	}
	a.Operators = bearer.Operators{Claim: claim, Value: value}
	return nil
}
