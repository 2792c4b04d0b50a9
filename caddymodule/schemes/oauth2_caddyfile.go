package schemes

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	oauth2 {
//	    token_url          <url>
//	    client_id          <id>
//	    client_secret      <placeholder>
//	    client_secret_file <file>
//	    client_auth        basic|post|none
//	    tls_ca             <file>
//	    tls_client_cert    <file>
//	    tls_client_key     <file>
//	    scopes             <scopes...>
//	    param              <name> <value>
//	    credential_field   <name> <path>
//	    response_field     <name> <path>
//	    refresh_ahead      <duration>
//	    rotation           single_use|none|grace <duration>
//	    takeover           <duration>|never
//	    issuer             <url>
//	    authorization_url  <url>
//	    userinfo_url       <url>
//	    revocation_url     <url>
//	    token_field        <path> <response path>
//	    refresh_field      <path> <response path>
//	    userinfo_field     <path> <userinfo path>
//	    id_token_field     <path> <claim path>
//	}
func (conf *OAuth2) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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

// Adapt checks the settings as far as adapting a Caddyfile can tell.
func (conf *OAuth2) Adapt() error {
	settings, err := conf.settings(config.LookupLater)
	if err != nil {
		return fmt.Errorf("oauth2: %w", err)
	}
	conf.Renewer, err = oauth2.New(settings)
	return err
}

func (conf *OAuth2) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "token_url":
		return config.EndpointArg(d, &conf.TokenURL)
	case "client_id":
		return config.OneArg(d, &conf.ClientID)
	case "client_secret":
		if err := config.OneArg(d, &conf.ClientSecret); err != nil {
			return err
		}
		if !config.IsOnePlaceholder(conf.ClientSecret) {
			return d.Errf("client_secret: %w", config.ErrInlineSecret)
		}
		return nil
	case "client_secret_file":
		return config.FileArg(d, &conf.ClientSecretFile)
	case "client_auth":
		return config.OneArg(d, &conf.ClientAuth)
	case "tls_ca":
		return config.FileArg(d, &conf.TLSCA)
	case "tls_client_cert":
		return config.FileArg(d, &conf.TLSClientCert)
	case "tls_client_key":
		return config.FileArg(d, &conf.TLSClientKey)
	case "scopes":
		return config.ManyArgs(d, &conf.Scopes)
	case "param":
		return config.NamedArgs(d, &conf.Params)
	case "credential_field":
		return config.NamedArgs(d, &conf.CredentialFields)
	case "response_field":
		return config.NamedArgs(d, &conf.ResponseFields)
	case "issuer":
		return config.EndpointArg(d, &conf.Issuer)
	case "authorization_url":
		return config.EndpointArg(d, &conf.AuthorizationURL)
	case "userinfo_url":
		return config.EndpointArg(d, &conf.UserinfoURL)
	case "revocation_url":
		return config.EndpointArg(d, &conf.RevocationURL)
	case "token_field":
		return config.NamedArgs(d, &conf.TokenFields)
	case "refresh_field":
		return config.NamedArgs(d, &conf.RefreshFields)
	case "userinfo_field":
		return config.NamedArgs(d, &conf.UserinfoFields)
	case "id_token_field":
		return config.NamedArgs(d, &conf.IDTokenFields)
	case "refresh_ahead":
		if err := config.DurationOrZeroArg(d, &conf.RefreshAhead); err != nil {
			return err
		}
		if conf.RefreshAhead == 0 {
			conf.RefreshAhead = -1 // 0 in JSON is the default
		}
		return nil
	case "rotation":
		return conf.unmarshalRotation(d)
	case "takeover":
		return conf.unmarshalTakeover(d)
	default:
		return d.Errf("unrecognized subdirective '%s' of oauth2", name)
	}
}

// unmarshalRotation reads: rotation single_use|none|grace <duration>
func (conf *OAuth2) unmarshalRotation(d *caddyfile.Dispenser) error {
	if conf.Rotation != "" {
		return d.Err("rotation is given twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	conf.Rotation = d.Val()
	if conf.Rotation == string(scheme.RotationGrace) {
		return config.DurationArg(d, &conf.RotationGrace)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return config.WrapErr(d, "", checkRenewal(conf))
}

// unmarshalTakeover reads: takeover <duration>|never
func (conf *OAuth2) unmarshalTakeover(d *caddyfile.Dispenser) error {
	if conf.Takeover != 0 {
		return d.Err("takeover is given twice")
	}
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		if d.Val() == "never" {
			conf.Takeover = caddy.Duration(-1)
			return nil
		}
		d.Prev()
	}
	if err := config.DurationArg(d, &conf.Takeover); err != nil {
		return err
	}
	return config.WrapErr(d, "", checkRenewal(conf))
}

// checkRenewal checks what a line can get wrong alone.
func checkRenewal(conf *OAuth2) error {
	renewal := conf.renewal()
	return renewal.Check()
}
