package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens; the syntax stands
// with that of [App].
func (s *VaultStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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
			if err = config.OneArg(d, &s.Path); err == nil {
				err = config.WrapErr(d, name, vaultstore.CheckPathTemplate(s.Path))
			}
		case "auth":
			err = s.unmarshalAuth(d)
		case "tls_ca":
			err = config.FileArg(d, &s.TLSCA)
		case "tls_client_cert":
			err = config.FileArg(d, &s.TLSClientCert)
		case "tls_client_key":
			err = config.FileArg(d, &s.TLSClientKey)
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
	switch {
	case s.Auth == nil:
		return d.Err("store vault needs auth: token_file, approle, kubernetes or jwt")
	case (s.TLSClientCert == "") != (s.TLSClientKey == ""):
		return d.Err("tls_client_cert and tls_client_key go together")
	}
	return nil
}

func (s *VaultStore) unmarshalKVVersion(d *caddyfile.Dispenser) error {
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

func (s *VaultStore) unmarshalAuth(d *caddyfile.Dispenser) error {
	if s.Auth != nil {
		return d.Err("auth is given twice")
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	s.Auth = &VaultAuth{Method: d.Val()}
	switch s.Auth.Method {
	case "token_file":
		// The file need not be there yet: Vault Agent writes it when it can.
		return config.OneArg(d, &s.Auth.TokenFile)
	case "approle", "kubernetes", "jwt":
	default:
		return d.Errf("auth '%s' is none of token_file, approle, kubernetes, jwt", s.Auth.Method)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.Auth.unmarshalSetting(d); err != nil {
			return err
		}
	}
	return s.Auth.check(d)
}

func (a *VaultAuth) unmarshalSetting(d *caddyfile.Dispenser) error {
	isAppRole := a.Method == "approle"
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
		return config.FileArg(d, &a.File)
	case name == "mount":
		return config.OneArg(d, &a.Mount)
	default:
		return d.Errf("unrecognized subdirective '%s' of auth %s", name, a.Method)
	}
}

func (a *VaultAuth) check(d *caddyfile.Dispenser) error {
	switch {
	case a.Method == "approle" && (a.RoleID == "") == (a.RoleIDFile == ""):
		return d.Err("auth approle needs one of role_id_file and role_id")
	case a.Method == "approle" && a.SecretIDFile == "":
		return d.Err("auth approle needs secret_id_file")
	case a.Method != "approle" && a.Role == "":
		return d.Errf("auth %s needs role", a.Method)
	case a.Method == "jwt" && a.File == "":
		return d.Err("auth jwt needs file")
	}
	return nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens; the syntax stands
// with that of [App].
func (s *LocalStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	s.Path = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "key_file" {
			return d.Errf("unrecognized subdirective '%s' of store local", name)
		}
		if err := config.OneArg(d, &s.KeyFile); err != nil {
			return err
		}
	}
	if s.KeyFile == "" {
		return d.Err("store local needs key_file")
	}
	return nil
}
