package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

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

// endpointArg is oneArg for a URL that secrets are sent to.
func endpointArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if err := oneArg(d, target); err != nil {
		return err
	}
	return checkLiteral(d, name, *target, checkEndpoint)
}

func (config *OAuth2) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "token_url":
		return endpointArg(d, &config.TokenURL)
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
	case "tls_ca":
		return fileArg(d, &config.TLSCA)
	case "tls_client_cert":
		return fileArg(d, &config.TLSClientCert)
	case "tls_client_key":
		return fileArg(d, &config.TLSClientKey)
	case "scopes":
		return manyArgs(d, &config.Scopes)
	case "param":
		return unmarshalNamed(d, &config.Params)
	case "credential_field":
		return unmarshalNamed(d, &config.CredentialFields)
	case "response_field":
		return unmarshalNamed(d, &config.ResponseFields)
	case "issuer":
		return endpointArg(d, &config.Issuer)
	case "authorization_url":
		return endpointArg(d, &config.AuthorizationURL)
	case "userinfo_url":
		return endpointArg(d, &config.UserinfoURL)
	case "revocation_url":
		return endpointArg(d, &config.RevocationURL)
	case "token_field":
		return unmarshalNamed(d, &config.TokenFields)
	case "refresh_field":
		return unmarshalNamed(d, &config.RefreshFields)
	case "userinfo_field":
		return unmarshalNamed(d, &config.UserinfoFields)
	case "id_token_field":
		return unmarshalNamed(d, &config.IDTokenFields)
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
