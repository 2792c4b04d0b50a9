package schemes

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	oauth2 {
//	    grant              refresh_token|client_credentials|password|jwt_bearer|token_exchange
//	    token_url          <url>
//	    refresh_url        <url>
//	    token_hosts        <patterns...>
//	    client_id          <id>
//	    client_secret      <placeholder>
//	    client_secret_file <file>
//	    client_auth        basic|post|none|client_secret_jwt|private_key_jwt|tls_client_auth
//	    client_key         <template>|vault_transit [<mount>/]<name>
//	    client_key_file    <file>
//	    client_assertion   {
//	        <as in jwt>
//	    }
//	    client_assertion_file <file>
//	    tls_ca             <file>
//	    tls_client_cert    <file>
//	    tls_client_key     <file>
//	    scopes             <scopes...>
//	    scope_separator    <text>
//	    request            form|json|query
//	    request_header     <name> <value>
//	    param              <name> <value>
//	    username           <name>
//	    password           <placeholder>
//	    assertion          {
//	        <as in jwt>
//	    }
//	    assertion_from     {
//	        <as in oauth2>
//	    }
//	    subject_token      <placeholder>
//	    subject_token_type <type>
//	    resource           <uri>
//	    audience           <name>
//	    expires_in_unit    seconds|milliseconds
//	    pkce               S256|off
//	    credential_field   <name> <path>
//	    response_field     <name> <path>
//	    refresh_ahead      <duration>
//	    rotation           single_use|none|grace <duration>
//	    takeover           <duration>|never
//	    keep_alive         <duration>
//	    issuer             <url>
//	    authorization_url  <url>
//	    userinfo_url       <url>
//	    revocation_url     <url>
//	    token_field        <path> <response path>
//	    refresh_field      <path> <response path>
//	    userinfo_field     <path> <userinfo path>
//	    id_token_field     <path> <claim path>
//	}
//
// A client_secret or client_secret_file that is given twice is a second secret, while the
// client's is changed for another.
func (conf *OAuth2) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return conf.unmarshalBlock(d)
}

func (conf *OAuth2) unmarshalBlock(d *caddyfile.Dispenser) error {
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
	settings, err := conf.settings(config.AdaptingResolver())
	if err != nil {
		return fmt.Errorf("oauth2: %w", err)
	}
	conf.Renewer, err = oauth2.New(settings)
	return err
}

func (conf *OAuth2) unmarshalSetting(d *caddyfile.Dispenser) error {
	switch name := d.Val(); name {
	case "grant":
		return config.OneArg(d, &conf.Grant)
	case "token_url":
		return config.EndpointArg(d, &conf.TokenURL)
	case "refresh_url":
		return config.EndpointArg(d, &conf.RefreshURL)
	case "token_hosts":
		return config.ManyArgs(d, &conf.TokenHosts)
	case "client_id":
		return config.OneArg(d, &conf.ClientID)
	case "client_secret":
		if conf.ClientSecret != "" || conf.ClientSecretFile != "" {
			return secretArg(d, &conf.NextClientSecret)
		}
		return secretArg(d, &conf.ClientSecret)
	case "client_secret_file":
		if conf.ClientSecret != "" || conf.ClientSecretFile != "" {
			return config.FileArg(d, &conf.NextClientSecretFile)
		}
		return config.FileArg(d, &conf.ClientSecretFile)
	case "client_key":
		return conf.clientAssertion().unmarshalKey(d)
	case "client_key_file":
		s := conf.clientAssertion()
		if s.Key != "" || s.VaultTransit != "" {
			return d.Err("client_key and client_key_file exclude each other")
		}
		return config.FileArg(d, &s.KeyFile)
	case "client_assertion":
		return conf.clientAssertion().unmarshal(d)
	case "assertion":
		if conf.Assertion != nil {
			return d.Err("assertion is given twice")
		}
		conf.Assertion = new(JWTSettings)
		return conf.Assertion.unmarshal(d)
	case "assertion_from":
		if conf.AssertionFrom != nil {
			return d.Err("assertion_from is given twice")
		}
		conf.AssertionFrom = new(OAuth2)
		return conf.AssertionFrom.unmarshalBlock(d)
	case "client_assertion_file":
		return config.FileArg(d, &conf.ClientAssertionFile)
	case "client_auth":
		return config.OneArg(d, &conf.ClientAuth)
	case "tls_ca", "tls_client_cert", "tls_client_key":
		return config.TLSFileArg(d, &conf.Files)
	case "scopes":
		return config.ManyArgs(d, &conf.Scopes)
	case "scope_separator":
		return config.OneArg(d, &conf.ScopeSeparator)
	case "request":
		return config.OneArg(d, &conf.RequestFormat)
	case "request_header":
		return config.NamedArgs(d, &conf.RequestHeader)
	case "param":
		return config.NamedArgs(d, &conf.Params)
	case "username":
		return config.OneArg(d, &conf.Username)
	case "password":
		return secretArg(d, &conf.Password)
	case "subject_token":
		return secretArg(d, &conf.SubjectToken)
	case "subject_token_type":
		return config.OneArg(d, &conf.SubjectTokenType)
	case "resource":
		return config.ManyArgs(d, &conf.Resources)
	case "audience":
		return config.ManyArgs(d, &conf.Audiences)
	case "expires_in_unit":
		return config.OneArg(d, &conf.ExpiresInUnit)
	case "pkce":
		return config.OneArg(d, &conf.PKCE)
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
	case "refresh_ahead", "rotation", "takeover", "keep_alive":
		return conf.unmarshalSpending(d)
	default:
		return d.Errf("unrecognized subdirective '%s' of oauth2", name)
	}
}

// clientAssertion has what client_key and client_assertion say, in any order.
func (conf *OAuth2) clientAssertion() *JWTSettings {
	if conf.ClientAssertion == nil {
		conf.ClientAssertion = new(JWTSettings)
	}
	return conf.ClientAssertion
}

// secretArg is [config.OneArg] for what must not be written into a configuration.
func secretArg(d *caddyfile.Dispenser, target *string) error {
	name := d.Val()
	if err := config.OneArg(d, target); err != nil {
		return err
	}
	if !config.IsOnePlaceholder(*target) {
		return d.Errf("%s: %w", name, template.ErrInlineSecret)
	}
	return nil
}
