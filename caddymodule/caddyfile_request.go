package caddymodule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalRequest reads: test|revoke [<method>] <url> { … }. What it is made of is
// checked once the whole provider is read.
func unmarshalRequest(d *caddyfile.Dispenser, target **Request) error {
	name := d.Val()
	if *target != nil {
		return d.Errf("%s is given twice", name)
	}
	config := new(Request)
	switch args := d.RemainingArgs(); len(args) {
	case 1:
		config.URL = args[0]
	case 2:
		config.Method, config.URL = args[0], args[1]
		if !slices.Contains(requestMethods, config.Method) {
			return d.Errf("%s: '%s' is not a method", name, config.Method)
		}
	default:
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch setting := d.Val(); setting {
		case "status":
			err = config.unmarshalStatus(d)
		case "timeout":
			err = durationArg(d, &config.Timeout)
		default:
			err = d.Errf("unrecognized subdirective '%s' of %s", setting, name)
		}
		if err != nil {
			return err
		}
	}
	*target = config
	return nil
}

// lookupLater is [lookupLater] for the URL, whose scheme and host may come from the
// placeholder that it begins with.
func (config *Request) lookupLater(name string) (string, error) {
	value, err := lookupLater(name)
	if strings.HasPrefix(config.URL, "{"+name+"}") {
		value = "https://unknown.invalid"
	}
	return value, err
}

func (config *Request) unmarshalStatus(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil || status < 200 || status > 599 {
			return d.Errf("status: '%s' is not the status code of a final response", arg)
		}
		config.Status = append(config.Status, status)
	}
	return nil
}

// unmarshalFetch reads: fetch_credentials <url> { … }
func (config *Provider) unmarshalFetch(d *caddyfile.Dispenser) error {
	if config.FetchCredentials != nil {
		return d.Err("fetch_credentials is given twice")
	}
	f := new(FetchCredentials)
	if err := oneArg(d, &f.URL); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := f.unmarshalSetting(d); err != nil {
			return err
		}
	}
	config.FetchCredentials = f
	return wrapErr(d, "fetch_credentials", f.check())
}

func (config *FetchCredentials) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "header":
		field, value, err := namedArg(d)
		if err != nil {
			return err
		}
		config.Header = append(config.Header, Mapping{Name: field, Value: value})
		return nil
	case "tls_client_cert":
		return fileArg(d, &config.TLSClientCert)
	case "tls_client_key":
		return fileArg(d, &config.TLSClientKey)
	case "tls_ca":
		return fileArg(d, &config.TLSCA)
	case "timeout":
		return durationArg(d, &config.Timeout)
	case "negative_ttl":
		return durationArg(d, &config.NegativeTTL)
	default:
		return d.Errf("unrecognized subdirective '%s' of fetch_credentials", name)
	}
}
