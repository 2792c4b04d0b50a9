package caddymodule

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/stores"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(config.AppName, parseGlobalOption)
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("upstream_auth is given twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	value, err := json.Marshal(app)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	return httpcaddyfile.App{Name: config.AppName, Value: value}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	upstream_auth {
//	    store vault { … }        # see [stores.Vault]
//	    store local <file> { … } # see [stores.Local]
//	    journal <directory>
//	    journal_room <claims>
//	    limits {
//	        requests|refreshes|api_calls     <of one tenant>|off [<in total>|off]
//	        recorded_memory|recorded_disk    <of one tenant>|off [<in total>|off]
//	        lookups                          <in total>|off
//	    }
//	    provider <name> {
//	        schema        <file>|<JSON>
//	        allowed_hosts <patterns...>
//	        insecure_http
//	        expose        <paths...>
//	        limits { … }  # as above
//	        header    <name> <value>
//	        query     <name> <value>
//	        cookie    <name> <value>
//	        basic     <user> <password>
//	        base_path <path>
//	        oauth2 {
//	            token_url          <url>
//	            client_id          <id>
//	            client_secret      <placeholder>
//	            client_secret_file <file>
//	            client_auth        basic|post|none
//	            tls_ca             <file>
//	            tls_client_cert    <file>
//	            tls_client_key     <file>
//	            scopes             <scopes...>
//	            param              <name> <value>
//	            credential_field   <name> <path>
//	            response_field     <name> <path>
//	            refresh_ahead      <duration>
//	            rotation           single_use|none|grace <duration>
//	            takeover           <duration>|never
//	            issuer             <url>
//	            authorization_url  <url>
//	            userinfo_url       <url>
//	            revocation_url     <url>
//	            token_field        <path> <response path>
//	            refresh_field      <path> <response path>
//	            userinfo_field     <path> <userinfo path>
//	            id_token_field     <path> <claim path>
//	        }
//	        jwt {
//	            algorithm <algorithm>
//	            key       <template>|file <file>|vault_transit [<mount>/]<name>
//	            header    <name> <template>
//	            claim     <name> <template>
//	            lifetime  <duration>
//	            to        header|query <name> [<text with {jwt}>]
//	            reuse     on|off
//	        }
//	        test|revoke [<method>] <url> {
//	            status  <codes...>
//	            timeout <duration>
//	        }
//	        retry_after [<header fields...>] {
//	            status    <codes...>
//	            remaining <header field>
//	            longest   <duration>
//	            wait      <duration>
//	        }
//	        fetch_credentials <url> {
//	            header          <name> <value>
//	            tls_client_cert <file>
//	            tls_client_key  <file>
//	            tls_ca          <file>
//	            timeout         <duration>
//	            negative_ttl    <duration>
//	        }
//	    }
//	}
//
// There is one store; provider may be repeated with other names.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "store":
			if a.StoreRaw != nil {
				return d.Err("store is given twice")
			}
			if err := a.unmarshalStore(d); err != nil {
				return err
			}
		case "journal":
			if err := config.OneArg(d, &a.Journal); err != nil {
				return err
			}
		case "journal_room":
			if err := unmarshalCount(d, &a.JournalRoom); err != nil {
				return err
			}
		case "limits":
			if err := unmarshalLimits(d, &a.Limits); err != nil {
				return err
			}
		case "provider":
			if err := a.unmarshalProvider(d); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s' of upstream_auth", d.Val())
		}
	}
	if a.StoreRaw == nil {
		return d.Err("upstream_auth needs a store: 'store vault' or 'store local'")
	}
	return a.checkStore(d)
}

// checkStore holds the providers against the store, whichever came first.
func (a *App) checkStore(d *caddyfile.Dispenser) error {
	store, err := stores.Read(a.StoreRaw)
	if err != nil {
		return d.WrapErr(err)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Providers)) {
		if err := a.Providers[name].checkStore(store); err != nil {
			return d.Errf("provider %s: %w", name, err)
		}
	}
	return nil
}

// storeReadOnly reports whether the store, as configured, takes no writes.
func (a *App) storeReadOnly() (bool, error) {
	store, err := stores.Read(a.StoreRaw)
	return err == nil && store.ReadOnly(), err
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, stores.Namespace+"."+name)
	if err != nil {
		return err
	}
	store, ok := module.(stores.Store)
	if !ok {
		return d.Errf("'%s' is not a store", name)
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(store, "type", name, nil)
	return nil
}

func (a *App) unmarshalProvider(d *caddyfile.Dispenser) error {
	var name string
	if err := config.OneArg(d, &name); err != nil {
		return err
	}
	if err := credential.CheckProvider(name); err != nil {
		return d.WrapErr(err)
	}
	if a.Providers[name] != nil {
		return d.Errf("provider %s is given twice", name)
	}
	p := new(Provider)
	if err := p.unmarshalBlock(d); err != nil {
		return err
	}
	if a.Providers == nil {
		a.Providers = make(map[string]*Provider)
	}
	a.Providers[name] = p
	return nil
}
