package caddymodule

import (
	"context"
	"maps"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// diagnosable is a store that can look at itself.
type diagnosable interface {
	Diagnose(ctx context.Context, providers []string) []credential.Finding
}

// Checks are what there is to look at of all that the app needs: the store first.
func (a *App) Checks() []explain.Check {
	names := slices.Sorted(maps.Keys(a.providers))
	var all []explain.Check
	if store, ok := a.backend.store.(diagnosable); ok {
		all = append(all, explain.Check{Name: "store", Look: func(ctx context.Context) []credential.Finding {
			return store.Diagnose(ctx, names)
		}})
	}
	if a.refreshes() && a.backend.journals != "" {
		all = append(all, explain.Journal(a.backend.journals))
	}
	all = append(all, a.siteCheck())
	for _, name := range names {
		p := a.providers[name]
		all = append(all, a.Providers[name].checks(p)...)
		if p.Renewer != nil {
			all = append(all, explain.Refreshes(p, a.backend.coordinator, a.backend.lifecycle))
		}
	}
	return all
}

// checks are what there is to look at of one provider.
func (conf *Provider) checks(p *upstream.Provider) []explain.Check {
	var all []explain.Check
	if o := p.OAuth2(); o != nil {
		all = append(all, explain.Endpoint(explain.CheckTokenEndpoint, "the token endpoint of provider "+p.Name, o.TokenURL, o.TLS))
		if file := o.ClientSecretFile; file != "" {
			all = append(all, explain.File("client_secret_file of provider "+p.Name, file))
		}
		all = append(all, tlsChecks(conf.oauth2().Files, p.Name)...)
	}
	if fetch := p.Fetch; fetch != nil {
		all = append(all, explain.Endpoint(explain.CheckApplication, "the application of provider "+p.Name, fetch.URL, fetch.TLS))
		all = append(all, tlsChecks(conf.FetchCredentials.Files, p.Name)...)
	}
	if o := conf.oauth2(); o != nil && o.Issuer != "" {
		all = append(all, explain.Issuer(p, conf.endpoints()))
	}
	return all
}

// endpoints are those of the authorization server, as they are configured.
func (conf *Provider) endpoints() explain.Endpoints {
	resolve, o := config.NewResolver(), conf.oauth2()
	return explain.Endpoints{
		Issuer:        resolve.Text("issuer", o.Issuer),
		Authorization: resolve.Text("authorization_url", o.AuthorizationURL),
		Userinfo:      resolve.Text("userinfo_url", o.UserinfoURL),
		Revocation:    resolve.Text("revocation_url", o.RevocationURL),
	}
}

// tlsChecks look at a client certificate, which is read again at each handshake.
func tlsChecks(files tlsfiles.Files, provider string) []explain.Check {
	if files.TLSClientCert == "" {
		return nil
	}
	resolve := config.NewResolver()
	return []explain.Check{
		explain.File("tls_client_cert of provider "+provider, resolve.Text("tls_client_cert", files.TLSClientCert)),
		explain.File("tls_client_key of provider "+provider, resolve.Text("tls_client_key", files.TLSClientKey)),
	}
}
