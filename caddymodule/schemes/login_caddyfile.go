package schemes

import (
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
)

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	login {
//	    request         [<method>] <url> {
//	        header <name> <value>
//	        form   <name> <value>
//	        json   <name> <value>
//	        body   <text>
//	        basic  <user> <password>
//	    }
//	    refresh         [<method>] <url> { … }
//	    token_field     <path> <response path>|header <name>|cookie <name>
//	    expires_in      <duration>|<response path>
//	    expires_at      <response path>
//	    token_hosts     <patterns...>
//	    tls_ca          <file>
//	    tls_client_cert <file>
//	    tls_client_key  <file>
//	    refresh_ahead   <duration>
//	    rotation        single_use|none|grace <duration>
//	    takeover        <duration>|never
//	    keep_alive      <duration>
//	}
func (conf *Login) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := conf.unmarshalSetting(d); err != nil {
			return err
		}
	}
	return config.WrapErr(d, "", conf.Adapt())
}

func (conf *Login) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "request":
		request, err := unmarshalLoginRequest(d, len(conf.Requests)+1)
		conf.Requests = append(conf.Requests, request)
		return err
	case "refresh":
		if conf.Refresh != nil {
			return d.Err("refresh is given twice")
		}
		request, err := unmarshalLoginRequest(d, 1)
		conf.Refresh = &request
		return err
	case "token_field":
		return conf.unmarshalTokenField(d)
	case "expires_in":
		if err := config.OneArg(d, &conf.ExpiresIn); err != nil {
			return err
		}
		_, _, err := readExpiresIn(conf.ExpiresIn)
		return config.WrapErr(d, "", err)
	case "expires_at":
		return config.OneArg(d, &conf.ExpiresAtPath)
	case "token_hosts":
		if err := config.ManyArgs(d, &conf.TokenHosts); err != nil {
			return err
		}
		_, err := hosts.Parse(conf.TokenHosts)
		return config.WrapErr(d, name, err)
	case "tls_ca", "tls_client_cert", "tls_client_key":
		return config.TLSFileArg(d, &conf.Files)
	case "refresh_ahead", "rotation", "takeover", "keep_alive":
		return conf.unmarshalSpending(d)
	default:
		return d.Errf("unrecognized subdirective '%s' of login", name)
	}
}

// unmarshalLoginRequest reads a request, and checks it after each line.
func unmarshalLoginRequest(d *caddyfile.Dispenser, step int) (r login.Request, err error) {
	name := d.Val()
	check := func() error {
		request := adaptable(r)
		return config.WrapErr(d, name, request.Check(step, config.LookupLater))
	}
	switch args := d.RemainingArgs(); len(args) {
	case 1:
		r.URL = args[0]
	case 2:
		r.Method, r.URL = args[0], args[1]
	default:
		return r, d.ArgErr()
	}
	if err := check(); err != nil {
		return r, err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch setting := d.Val(); setting {
		case "header":
			err = config.NamedArgs(d, &r.Header)
		case "form":
			err = config.NamedArgs(d, &r.Form)
		case "json":
			err = config.NamedArgs(d, &r.JSON)
		case "body":
			err = config.OneArg(d, &r.Body)
		case "basic":
			if r.User != "" {
				return r, d.Err("basic is given twice")
			}
			r.User, r.Password, err = config.NamedArg(d)
		default:
			err = d.Errf("unrecognized subdirective '%s' of %s", setting, name)
		}
		if err == nil {
			err = check()
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// unmarshalTokenField reads: token_field <path> <response path>|header <name>|cookie <name>
func (conf *Login) unmarshalTokenField(d *caddyfile.Dispenser) error {
	var f login.TokenField
	switch args := d.RemainingArgs(); {
	case len(args) == 2:
		f.Field, f.Path = args[0], args[1]
	case len(args) == 3 && args[1] == "header":
		f.Field, f.Header = args[0], args[2]
	case len(args) == 3 && args[1] == "cookie":
		f.Field, f.Cookie = args[0], args[2]
	case len(args) == 3:
		return config.WrapErr(d, "token_field", errors.New("what is neither header nor cookie is one path"))
	default:
		return d.ArgErr()
	}
	conf.TokenFields = append(conf.TokenFields, f)
	return config.WrapErr(d, "token_field", f.Check())
}
