package caddymodule

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/stores"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// diagnosable is a store that can look at itself.
type diagnosable interface {
	Diagnose(ctx context.Context, providers []string) []credential.Finding
}

// keepsSecrets is a store's module that has files which hold secrets.
type keepsSecrets interface {
	// SecretFiles returns their paths by the settings that name them.
	SecretFiles() map[string]string
}

// AddChecks implements [api.App].
func (a *App) AddChecks(checks ...explain.Check) { a.checks = append(a.checks, checks...) }

// warn logs at start what the doctor would say of this machine.
func (a *App) warn() {
	checks := slices.DeleteFunc(a.Checks(), func(c explain.Check) bool { return !c.AtStart })
	for _, f := range explain.Run(context.Background(), checks).Findings {
		if !f.OK || f.Warning {
			a.logger.Warn(f.Detail, "check", f.Check, "remedy", f.Remedy)
		}
	}
}

// linksDiagnosable is one that can say whether links to connect can be registered in it.
type linksDiagnosable interface {
	DiagnoseLinks(ctx context.Context, providers []string) []credential.Finding
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
	if store, ok := a.backend.store.(linksDiagnosable); ok {
		all = append(all, explain.Check{Name: "links", Look: func(ctx context.Context) []credential.Finding {
			connectable := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !a.service.Links.Has(name) })
			if len(connectable) == 0 {
				return nil
			}
			return store.DiagnoseLinks(ctx, connectable)
		}})
	}
	if a.refreshes() && a.backend.journals != "" {
		all = append(all, explain.Journal(a.backend.journals))
	}
	for _, name := range names {
		p := a.providers[name]
		all = append(all, a.Providers[name].checks(p)...)
		all = append(all, explain.UpstreamClock(p))
		if p.Renewer != nil {
			all = append(all, explain.Refreshes(p, a.backend.coordinator, a.backend.lifecycle), explain.RefreshTokens(p, a.backend.lifecycle))
		}
	}
	return append(all, a.checks...)
}

// secretFiles are the checks of a store's.
func secretFiles(store stores.Store) []explain.Check {
	module, ok := store.(keepsSecrets)
	if !ok {
		return nil
	}
	var all []explain.Check
	files := module.SecretFiles()
	for _, setting := range slices.Sorted(maps.Keys(files)) {
		all = append(all, explain.Private(setting+" of the store", files[setting]))
	}
	return all
}

// checks are what there is to look at of one provider.
func (conf *Provider) checks(p *upstream.Provider) []explain.Check {
	var all []explain.Check
	for _, o := range p.OAuth2().Chain() {
		if o.TokenURL == nil || !o.TokenURL.UsesCredential() {
			all = append(all, explain.Endpoint(explain.CheckTokenEndpoint, "the token endpoint of provider "+p.Name, o.Endpoint(), o.TLS))
		}
		for _, secret := range o.ClientSecrets {
			if secret.File != "" {
				what := "client_secret_file of provider " + p.Name
				all = append(all, explain.File(what, secret.File), explain.Private(what, secret.File))
			}
		}
	}
	for o := conf.oauth2(); o != nil; o = o.AssertionFrom {
		all = append(all, tlsChecks(o.Files, p.Name)...)
	}
	if l := schemes.LoginOf(conf.schemes); l != nil {
		for _, server := range l.Servers() {
			all = append(all, explain.Endpoint(explain.CheckTokenEndpoint, "the login server of provider "+p.Name, server, l.TLS))
		}
		all = append(all, tlsChecks(l.Files, p.Name)...)
	}
	if fetch := p.Fetch; fetch != nil {
		all = append(all, explain.Endpoint(explain.CheckApplication, "the application of provider "+p.Name, fetch.URL, fetch.TLS))
		all = append(all, tlsChecks(conf.FetchCredentials.Files, p.Name)...)
	}
	if o := conf.oauth2(); o != nil && o.Issuer != "" {
		all = append(all, explain.Issuer(p, conf.endpoints()))
	}
	text, _ := json.Marshal(conf) // it was read from JSON
	for _, file := range filePlaceholder.FindAllSubmatch(text, -1) {
		all = append(all, explain.Private("what provider "+p.Name+" reads as {file.…}", string(file[1])))
	}
	return all
}

// filePlaceholder finds files whose content is filled in.
var filePlaceholder = regexp.MustCompile(`\{file\.([^{}\s"]+)\}`)

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
	key, what := resolve.Text("tls_client_key", files.TLSClientKey), "tls_client_key of provider "+provider
	return []explain.Check{
		explain.File("tls_client_cert of provider "+provider, resolve.Text("tls_client_cert", files.TLSClientCert)),
		explain.File(what, key), explain.Private(what, key),
	}
}
