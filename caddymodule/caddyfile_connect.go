package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// parseConnect sets up the handler from Caddyfile tokens. Syntax:
//
//	upstream_auth_connect [<matcher>] <provider> {
//	    redirect_uris <urls...>
//	    scopes        <scopes...>
//	    param         <name> <value>
//	    return_to     <urls...>
//	    link_ttl      <duration>
//	}
func parseConnect(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	c := new(Connect)
	if err := c.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	_, provider, err := findProvider(h, c.Provider)
	if err != nil {
		return nil, err
	}
	if err := provider.readOAuth2(); err != nil {
		return nil, h.WrapErr(err)
	}
	settings, err := c.config(provider, config.AdaptingResolver())
	if err != nil {
		return nil, h.WrapErr(err)
	}
	if err := settings.Validate(); err != nil {
		return nil, h.WrapErr(err)
	}
	return c, nil
}

// UnmarshalCaddyfile reads the directive; the syntax stands above.
func (c *Connect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := config.OneArg(d, &c.Provider); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "redirect_uris":
			if err = config.ManyArgs(d, &c.RedirectURIs); err == nil {
				err = config.WrapErr(d, "", checkRedirectURIs(c.RedirectURIs))
			}
		case "scopes":
			err = config.ManyArgs(d, &c.Scopes)
		case "param":
			err = config.NamedArgs(d, &c.Params)
		case "return_to":
			err = config.ManyArgs(d, &c.ReturnTo)
		case "link_ttl":
			err = config.DurationArg(d, &c.LinkTTL)
		default:
			err = d.Errf("unrecognized subdirective '%s' of upstream_auth_connect", name)
		}
		if err != nil {
			return err
		}
	}
	if len(c.RedirectURIs) == 0 {
		return d.Err("upstream_auth_connect needs redirect_uris")
	}
	return nil
}
