package api

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/internal/connect"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
)

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	upstream_auth_connect [<matcher>] <provider> {
//	    application   <name>
//	    redirect_uris <urls...>
//	    form          [<help url>]
//	    scopes        <scopes...>
//	    param         <name> <value>
//	    token_param   <name> <value>
//	    ask           <credential path> [<label>] [secret]
//	    return_to     <urls...>
//	    link_ttl      <duration>
//	}
func (c *Connect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := config.OneArg(d, &c.Provider); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "application":
			if err = config.OneArg(d, &c.Application); err == nil {
				err = config.CheckLiteral(d, name, c.Application, connect.CheckApplication)
			}
		case "redirect_uris":
			if err = config.ManyArgs(d, &c.RedirectURIs); err == nil {
				err = config.WrapErr(d, "", checkRedirectURIs(c.RedirectURIs))
			}
		case "form":
			err = c.unmarshalForm(d)
		case "scopes":
			err = config.ManyArgs(d, &c.Scopes)
		case "param":
			err = config.NamedArgs(d, &c.Params)
		case "token_param":
			err = config.NamedArgs(d, &c.TokenParams)
		case "ask":
			err = c.unmarshalAsk(d)
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

// unmarshalAsk reads: ask <credential path> [<label>] [secret]
func (c *Connect) unmarshalAsk(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 3 || len(args) == 3 && args[2] != "secret" {
		return d.ArgErr()
	}
	q := connect.Question{Path: args[0]}
	if len(args) > 1 {
		q.Label = args[1]
	}
	q.Secret = len(args) == 3
	c.Ask = append(c.Ask, q)
	return nil
}

// unmarshalForm reads: form [<help url>]
func (c *Connect) unmarshalForm(d *caddyfile.Dispenser) error {
	if c.Form != nil {
		return d.Err("form is given twice")
	}
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.ArgErr()
	}
	line := *d
	c.Form, c.formLine = new(connect.FormSettings), &line
	if len(args) == 0 {
		return nil
	}
	c.Form.HelpURL = args[0]
	return config.CheckLiteral(d, "form", args[0], connect.CheckHelpURL)
}

// Check reports what is wrong with the settings beside those of the provider: its oauth2,
// or what people fill in, as made says. It goes as far as adapting a Caddyfile can tell.
func (c *Connect) Check(d *caddyfile.Dispenser, oauth2 *schemes.OAuth2, made func() (*form.Form, error)) error {
	var filledIn *form.Form
	if c.Form != nil {
		var err error
		if filledIn, err = made(); err != nil {
			return c.formLine.WrapErr(err)
		}
	}
	settings, err := c.Config(oauth2, filledIn, config.AdaptingResolver())
	if err == nil {
		err = settings.Validate()
	}
	return config.WrapErr(d, "", err)
}
