package caddymodule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
)

// unmarshalRequest reads: test|revoke [<method>] <url> { … }. What it is made of is
// checked once the whole provider is read.
func unmarshalRequest(d *caddyfile.Dispenser, target **Request) error {
	name := d.Val()
	if *target != nil {
		return d.Errf("%s is given twice", name)
	}
	conf := new(Request)
	switch args := d.RemainingArgs(); len(args) {
	case 1:
		conf.URL = args[0]
	case 2:
		conf.Method, conf.URL = args[0], args[1]
		if !slices.Contains(requestMethods, conf.Method) {
			return d.Errf("%s: '%s' is not a method", name, conf.Method)
		}
	default:
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch setting := d.Val(); setting {
		case "status":
			err = conf.unmarshalStatus(d)
		case "timeout":
			err = config.DurationArg(d, &conf.Timeout)
		default:
			err = d.Errf("unrecognized subdirective '%s' of %s", setting, name)
		}
		if err != nil {
			return err
		}
	}
	*target = conf
	return nil
}

// lookupLater is [config.LookupLater] for the URL, whose scheme and host may come from the
// placeholder that it begins with.
func (conf *Request) lookupLater(name string) (string, error) {
	value, err := config.LookupLater(name)
	if strings.HasPrefix(conf.URL, "{"+name+"}") {
		value = "https://unknown.invalid"
	}
	return value, err
}

func (conf *Request) unmarshalStatus(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 200 || status > 599 {
			return d.Errf("status: '%s' is not the status code of a final response", arg)
		}
		conf.Status = append(conf.Status, status)
	}
	return nil
}

// unmarshalFetch reads: fetch_credentials <url> { … }
func (conf *Provider) unmarshalFetch(d *caddyfile.Dispenser) error {
	if conf.FetchCredentials != nil {
		return d.Err("fetch_credentials is given twice")
	}
	f := new(FetchCredentials)
	if err := config.OneArg(d, &f.URL); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := f.unmarshalSetting(d); err != nil {
			return err
		}
	}
	conf.FetchCredentials = f
	return config.WrapErr(d, "fetch_credentials", f.check())
}

func (conf *FetchCredentials) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "header":
		field, value, err := config.NamedArg(d)
		if err != nil {
			return err
		}
		conf.Header = append(conf.Header, Mapping{Name: field, Value: value})
		return nil
	case "tls_ca", "tls_client_cert", "tls_client_key":
		return config.TLSFileArg(d, &conf.Files)
	case "timeout":
		return config.DurationArg(d, &conf.Timeout)
	case "negative_ttl":
		return config.DurationArg(d, &conf.NegativeTTL)
	default:
		return d.Errf("unrecognized subdirective '%s' of fetch_credentials", name)
	}
}
