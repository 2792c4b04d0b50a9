package config

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

// BearerArg reads a subdirective of those that say which bearer tokens a directive accepts.
func BearerArg(d *caddyfile.Dispenser, c *bearer.Config, directive string) error {
	switch name := d.Val(); name {
	case "token":
		return tokenArg(d, &c.Token)
	case "issuer":
		return OneArg(d, &c.Issuer)
	case "audience":
		return OneArg(d, &c.Audience)
	case "tenant_claim":
		return OneArg(d, &c.TenantClaim)
	case "max_token_lifetime":
		return DurationArg(d, (*caddy.Duration)(&c.MaxLifetime))
	case "operators":
		return operatorsArg(d, &c.Operators)
	default:
		return d.Errf("unrecognized subdirective '%s' of %s", name, directive)
	}
}

// ResolveBearer returns the settings with their placeholders filled in, checked.
func ResolveBearer(c bearer.Config, resolve *Resolver) (bearer.Config, error) {
	c.Token.SecretFile = resolve.Text("secret_file", c.Token.SecretFile)
	c.Token.KeySetURL = resolve.URL("jwks_url", c.Token.KeySetURL)
	c.Token.KeySetFile = resolve.Text("jwks_file", c.Token.KeySetFile)
	c.Issuer = resolve.Text("issuer", c.Issuer)
	c.Audience = resolve.Text("audience", c.Audience)
	c.Operators.Value = resolve.Text("operators", c.Operators.Value)
	if resolve.Err() != nil {
		return c, resolve.Err()
	}
	if err := c.Validate(); err != nil || resolve.Adapting() {
		return c, err
	}
	if file := c.Token.SecretFile + c.Token.KeySetFile; file != "" {
		if err := CheckReadable(file); err != nil {
			return c, fmt.Errorf("token: %w", err)
		}
	}
	return c, nil
}

// BearerChecks are what there is to look at of resolved settings.
func BearerChecks(what string, c *bearer.Config) []explain.Check {
	return []explain.Check{
		explain.Private("secret_file of "+what, c.Token.SecretFile),
		{Name: "tokens", AtStart: true, Look: func(context.Context) []credential.Finding { return c.Diagnose(what) }},
	}
}

// tokenArg reads: token hs256|jwks { … }
func tokenArg(d *caddyfile.Dispenser, token *bearer.Token) error {
	if token.SecretFile+token.KeySetFile+token.KeySetURL != "" {
		return d.Err("token is given twice")
	}
	var kind string
	if err := OneArg(d, &kind); err != nil {
		return err
	}
	if kind != "hs256" && kind != "jwks" {
		return d.Errf("token '%s' is neither hs256 nor jwks", kind)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); {
		case name == "secret_file" && kind == "hs256":
			err = FileArg(d, &token.SecretFile)
		case name == "url" && kind == "jwks":
			err = EndpointArg(d, &token.KeySetURL)
		case name == "file" && kind == "jwks":
			err = FileArg(d, &token.KeySetFile)
		case name == "algorithms" && kind == "jwks":
			err = ManyArgs(d, &token.Algorithms)
		default:
			err = d.Errf("unrecognized subdirective '%s' of token %s", name, kind)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case kind == "hs256" && token.SecretFile == "":
		return d.Err("token hs256 needs secret_file")
	case kind == "jwks" && (token.KeySetURL == "") == (token.KeySetFile == ""):
		return d.Err("token jwks needs one of url and file")
	case kind == "jwks" && len(token.Algorithms) == 0:
		return d.Err("token jwks needs algorithms")
	}
	return nil
}

// operatorsArg reads: operators <claim> <value>
func operatorsArg(d *caddyfile.Dispenser, operators *bearer.Operators) error {
	if operators.Claim != "" {
		return d.Err("operators is given twice")
	}
	claim, value, err := NamedArg(d)
	if err != nil {
		return err
	}
	if strings.TrimSpace(claim) == "" || value == "" {
		return d.ArgErr()
	}
	*operators = bearer.Operators{Claim: claim, Value: value}
	return nil
}
