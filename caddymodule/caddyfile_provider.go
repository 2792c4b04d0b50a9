package caddymodule

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// unmarshalBlock reads the block of a provider; the syntax stands with that of
// [App].
func (config *Provider) unmarshalBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "schema":
			err = config.unmarshalSchema(d)
		case "allowed_hosts":
			if err = manyArgs(d, &config.AllowedHosts); err == nil {
				_, hostsErr := config.hosts()
				err = wrapErr(d, "", hostsErr)
			}
		case "expose":
			if err = manyArgs(d, &config.Expose); err == nil {
				err = wrapErr(d, "", checkExpose(config.Expose))
			}
		case "header":
			err = unmarshalMapping(d, &config.Header)
		case "query":
			err = unmarshalMapping(d, &config.Query)
		case "basic":
			err = config.unmarshalBasic(d)
		case "oauth2":
			err = config.unmarshalOAuth2(d)
		default:
			err = d.Errf("unrecognized subdirective '%s' of provider", name)
		}
		if err != nil {
			return err
		}
	}
	options, err := config.schemeOptions(lookupLater)
	if err != nil {
		return d.WrapErr(err)
	}
	if _, err := scheme.New(options); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (config *Provider) unmarshalSchema(d *caddyfile.Dispenser) error {
	if config.Schema != nil {
		return d.Err("schema is given twice")
	}
	var file string
	if err := fileArg(d, &file); err != nil {
		return err
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return d.WrapErr(err)
	}
	config.Schema = raw
	if strings.Contains(file, "{") {
		return nil
	}
	_, err = loadSchema(raw, newResolver())
	return wrapErr(d, "", err)
}

func unmarshalMapping(d *caddyfile.Dispenser, target *[]Mapping) error {
	kind := d.Val()
	name, value, err := namedArg(d)
	if err != nil {
		return err
	}
	if _, err := parseValue(value, lookupLater); err != nil {
		return d.Errf("%s %s: %w", kind, name, err)
	}
	*target = append(*target, Mapping{Name: name, Value: value})
	return nil
}

func (config *Provider) unmarshalBasic(d *caddyfile.Dispenser) error {
	if config.Basic != nil {
		return d.Err("basic is given twice")
	}
	user, password, err := namedArg(d)
	if err != nil {
		return err
	}
	config.Basic = &Basic{User: user, Password: password}
	_, err = (&Provider{Basic: config.Basic}).schemeOptions(lookupLater)
	return wrapErr(d, "", err)
}

func (config *Provider) unmarshalOAuth2(d *caddyfile.Dispenser) error {
	if config.OAuth2 != nil {
		return d.Err("oauth2 is given twice")
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	config.OAuth2 = new(OAuth2)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := config.OAuth2.unmarshalSetting(d); err != nil {
			return err
		}
	}
	if _, err := config.OAuth2.scheme(lookupLater); err != nil {
		return d.Errf("oauth2: %w", err)
	}
	return nil
}

func (config *OAuth2) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "token_url":
		if err := oneArg(d, &config.TokenURL); err != nil {
			return err
		}
		return checkLiteral(d, name, config.TokenURL, checkEndpoint)
	case "client_id":
		return oneArg(d, &config.ClientID)
	case "client_secret":
		if err := oneArg(d, &config.ClientSecret); err != nil {
			return err
		}
		if !isOnePlaceholder(config.ClientSecret) {
			return d.Errf("client_secret: %w", errInlineSecret)
		}
		return nil
	case "client_secret_file":
		return fileArg(d, &config.ClientSecretFile)
	case "client_auth":
		return oneArg(d, &config.ClientAuth)
	case "scopes":
		return manyArgs(d, &config.Scopes)
	case "param":
		return unmarshalNamed(d, &config.Params)
	case "credential_field":
		return unmarshalNamed(d, &config.CredentialFields)
	case "response_field":
		return unmarshalNamed(d, &config.ResponseFields)
	case "refresh_ahead":
		if err := durationOrZeroArg(d, &config.RefreshAhead); err != nil {
			return err
		}
		if config.RefreshAhead == 0 {
			config.RefreshAhead = -1 // 0 in JSON is the default
		}
		return nil
	case "rotation":
		return config.unmarshalRotation(d)
	case "takeover":
		return config.unmarshalTakeover(d)
	default:
		return d.Errf("unrecognized subdirective '%s' of oauth2", name)
	}
}

// unmarshalRotation reads: rotation single_use|none|grace <duration>
func (config *OAuth2) unmarshalRotation(d *caddyfile.Dispenser) error {
	if config.Rotation != "" {
		return d.Err("rotation is given twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	config.Rotation = d.Val()
	if config.Rotation == string(scheme.RotationGrace) {
		return durationArg(d, &config.RotationGrace)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return wrapErr(d, "", config.checkRotation())
}

// unmarshalTakeover reads: takeover <duration>|never
func (config *OAuth2) unmarshalTakeover(d *caddyfile.Dispenser) error {
	if config.Takeover != 0 {
		return d.Err("takeover is given twice")
	}
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		if d.Val() == "never" {
			config.Takeover = caddy.Duration(-1)
			return nil
		}
		d.Prev()
	}
	if err := durationArg(d, &config.Takeover); err != nil {
		return err
	}
	return wrapErr(d, "", config.checkRotation())
}

// unmarshalNamed reads a name and a value into a map, each name once.
func unmarshalNamed(d *caddyfile.Dispenser, target *map[string]string) error {
	kind := d.Val()
	name, value, err := namedArg(d)
	if err != nil {
		return err
	}
	if _, given := (*target)[name]; given {
		return d.Errf("%s %s is given twice", kind, name)
	}
	if *target == nil {
		*target = make(map[string]string)
	}
	(*target)[name] = value
	return nil
}

// lookupLater stands for the value of a run-time placeholder, which adapting
// does not know.
func lookupLater(name string) (string, error) {
	return "x", checkRuntimePlaceholder(name)
}

// checkLiteral checks a value in which nothing is left to fill in.
func checkLiteral(d *caddyfile.Dispenser, name, value string, check func(string) error) error {
	if strings.Contains(value, "{") {
		return nil
	}
	return wrapErr(d, name, check(value))
}

// wrapErr adds the place in the Caddyfile to err, if there is one.
func wrapErr(d *caddyfile.Dispenser, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case name == "":
		return d.WrapErr(err)
	default:
		return d.Errf("%s: %w", name, err)
	}
}
