package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
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
	settings, err := c.config(provider, adaptingResolver())
	if err != nil {
		return nil, h.WrapErr(err)
	}
	options, err := provider.schemeOptions(lookupLater)
	if err != nil {
		return nil, h.WrapErr(err)
	}
	s, err := scheme.New(options)
	if err != nil {
		return nil, h.WrapErr(err)
	}
	settings.OAuth2 = s.OAuth2()
	if err := settings.Validate(); err != nil {
		return nil, h.WrapErr(err)
	}
	return c, nil
}

// UnmarshalCaddyfile reads the directive; the syntax stands above.
func (c *Connect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := oneArg(d, &c.Provider); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "redirect_uris":
			if err = manyArgs(d, &c.RedirectURIs); err == nil {
				err = wrapErr(d, "", checkRedirectURIs(c.RedirectURIs))
			}
		case "scopes":
			err = manyArgs(d, &c.Scopes)
		case "param":
			err = unmarshalNamed(d, &c.Params)
		case "return_to":
			err = manyArgs(d, &c.ReturnTo)
		case "link_ttl":
			err = durationArg(d, &c.LinkTTL)
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
