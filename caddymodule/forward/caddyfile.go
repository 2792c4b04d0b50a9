package forward

import (
	"encoding/json"
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// UnmarshalCaddyfile sets up the proxy from Caddyfile tokens. Syntax:
//
//	upstream_auth_forward {
//	    providers <names...>
//	    tunnel    <hosts with a port...>
//	    private   on|off
//	    ca        <id>
//
//	    # any subdirective of upstream_auth
//	}
//
// handler reads what is not the proxy's own: a directive upstream_auth, for a provider.
func (f *Forward) UnmarshalCaddyfile(d *caddyfile.Dispenser, handler func(tokens []caddyfile.Token) (json.RawMessage, error)) error {
	d.Next()
	place := *d
	directive := d.Token()
	if d.NextArg() {
		return d.ArgErr()
	}
	private, rest, lines := "", []caddyfile.Token(nil), 0
	for d.NextBlock(0) {
		segment := d.NextSegment()
		own := caddyfile.NewDispenser(segment)
		own.Next()
		var err error
		switch own.Val() {
		case "providers":
			err = config.ManyArgs(own, &f.Providers)
		case "tunnel":
			if err = config.ManyArgs(own, &f.Tunnel); err == nil {
				err = config.WrapErr(own, "", f.checkTunnel())
			}
		case "private":
			if err = config.OneArg(own, &private); err == nil && private != "on" && private != "off" {
				err = own.Errf("private: '%s' is neither on nor off", private)
			}
		case "ca":
			err = config.OneArg(own, &f.CA)
		default:
			rest = append(rest, segment...)
			lines++
		}
		if err != nil {
			return err
		}
	}
	f.Private = private == "on"
	if err := f.check(); err != nil {
		return place.WrapErr(err)
	}
	for _, provider := range f.Providers {
		text := func(text string) caddyfile.Token {
			token := directive.Clone()
			token.Text = text
			return token
		}
		tokens := []caddyfile.Token{text("upstream_auth"), text(provider), text(Address)}
		if lines > 0 {
			closing := d.Token()
			closing.Text = "}"
			tokens = append(append(append(tokens, text("{")), rest...), closing)
		}
		conf, err := handler(tokens)
		if err != nil {
			return err
		}
		if f.Settings, err = settingsOf(conf); err != nil {
			return place.WrapErr(err)
		}
	}
	return nil
}

// settingsOf returns what of a handler's configuration is not of a provider's claim.
func settingsOf(conf json.RawMessage) (json.RawMessage, error) {
	if to := gjson.GetBytes(conf, "proxy"); to.Get("upstreams.#").Int() != 1 || to.Get("dynamic_upstreams").Exists() {
		return nil, errors.New("requests to a proxy say themselves where they go: there can be no upstream")
	}
	for _, path := range []string{"provider", "proxy.upstreams", "proxy.handler"} {
		var err error
		if conf, err = sjson.DeleteBytes(conf, path); err != nil {
			return nil, err
		}
	}
	return conf, nil
}
