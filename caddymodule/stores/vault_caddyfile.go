package stores

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore"
)

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store vault {
//	    address         <url>
//	    namespace       <namespace>
//	    mount           <path>
//	    kv_version      1|2
//	    path            <template with {provider} and {tenant}>
//	    auth token_file <file>
//	    auth approle {
//	        role_id        <id>
//	        role_id_file   <file>
//	        secret_id_file <file>
//	        mount          <path>
//	    }
//	    auth kubernetes|jwt {
//	        role  <role>
//	        file  <file>
//	        mount <path>
//	    }
//	    tls_ca          <file>
//	    tls_client_cert <file>
//	    tls_client_key  <file>
//	    tls_server_name <name>
//	    timeout         <duration>
//	    cache_ttl       <duration>
//	    stale_if_error  <duration>
//	}
func (s *Vault) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch name := d.Val(); name {
		case "address":
			if err = config.OneArg(d, &s.Address); err == nil {
				err = config.CheckLiteral(d, name, s.Address, config.CheckEndpoint)
			}
		case "namespace":
			err = config.OneArg(d, &s.Namespace)
		case "mount":
			err = config.OneArg(d, &s.Mount)
		case "kv_version":
			err = s.unmarshalKVVersion(d)
		case "path":
			if err = config.OneArg(d, &s.PathTemplate); err == nil {
				err = config.WrapErr(d, name, vaultstore.CheckPathTemplate(s.PathTemplate))
			}
		case "auth":
			err = s.unmarshalAuth(d)
		case "tls_ca", "tls_client_cert", "tls_client_key":
			err = config.TLSFileArg(d, &s.Files)
		case "tls_server_name":
			err = config.OneArg(d, &s.TLSServerName)
		case "timeout":
			err = config.DurationArg(d, &s.Timeout)
		case "cache_ttl":
			err = config.DurationArg(d, &s.CacheTTL)
		case "stale_if_error":
			err = config.DurationOrZeroArg(d, &s.StaleIfError)
		default:
			err = d.Errf("unrecognized subdirective '%s' of store vault", name)
		}
		if err != nil {
			return err
		}
	}
	_, err := s.resolved(config.AdaptingResolver())
	return config.WrapErr(d, "store vault", err)
}

func (s *Vault) unmarshalKVVersion(d *caddyfile.Dispenser) error {
	var version string
	if s.KVVersion != 0 {
		return d.Err("kv_version is given twice")
	}
	if err := config.OneArg(d, &version); err != nil {
		return err
	}
	switch version {
	case "1":
		s.KVVersion = 1
	case "2":
		s.KVVersion = 2
	default:
		return d.Errf("kv_version '%s' is neither 1 nor 2", version)
	}
	return nil
}

func (s *Vault) unmarshalAuth(d *caddyfile.Dispenser) error {
	if s.Auth.Method != "" {
		return d.Err("auth is given twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	s.Auth.Method = d.Val()
	switch s.Auth.Method {
	case vaultstore.MethodTokenFile:
		// The file need not be there yet: Vault Agent writes it when it can.
		return config.OneArg(d, &s.Auth.TokenFile)
	case vaultstore.MethodAppRole, vaultstore.MethodKubernetes, vaultstore.MethodJWT:
	default:
		return config.WrapErr(d, "", s.Auth.Validate())
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := unmarshalAuthSetting(d, &s.Auth); err != nil {
			return err
		}
	}
	return config.WrapErr(d, "", s.Auth.Validate())
}

func unmarshalAuthSetting(d *caddyfile.Dispenser, a *vaultstore.AuthConfig) error {
	isAppRole := a.Method == vaultstore.MethodAppRole
	switch name := d.Val(); {
	case name == "role_id" && isAppRole:
		return config.OneArg(d, &a.RoleID)
	case name == "role_id_file" && isAppRole:
		return config.FileArg(d, &a.RoleIDFile)
	case name == "secret_id_file" && isAppRole:
		return config.FileArg(d, &a.SecretIDFile)
	case name == "role" && !isAppRole:
		return config.OneArg(d, &a.Role)
	case name == "file" && !isAppRole:
		return config.FileArg(d, &a.JWTFile)
	case name == "mount":
		return config.OneArg(d, &a.Mount)
	default:
		return d.Errf("unrecognized subdirective '%s' of auth %s", name, a.Method)
	}
}
