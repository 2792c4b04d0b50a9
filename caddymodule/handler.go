package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/wire"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a reverse proxy that authenticates: it finds the credential of the
// tenant that a request names, proxies the request with it, and when the upstream
// rejects the credential it refreshes it and sends the same request once more.
// The app that made the request knows nothing of tokens.
//
// What can go wrong before the upstream is asked is an error that `handle_errors`
// sees. It and what goes wrong later is named in the response header
// `Upstream-Auth-Error`.
//
// A provider's fields listed in `expose` are set as placeholders
// `{upstream_auth.credential.<path>}`.
type Handler struct {
	// The provider, by its name in the app `upstream_auth`.
	Provider string `json:"provider"`

	// Names the tenant: a template of placeholders. A header field that it reads
	// must be there exactly once and is not sent upstream. Default:
	// `{http.request.header.X-Tenant-ID}`.
	Tenant string `json:"tenant,omitempty"`

	// The tenants that may be named. Default: every tenant with a credential.
	Tenants []string `json:"tenants,omitempty"`

	// The largest request body, in bytes, that is recorded to be sent again. A
	// larger one is sent once. Default: 10 MiB.
	ReplayMaxBody *int64 `json:"replay_max_body,omitempty"`

	// How much of a recording is kept in memory, in bytes; the rest goes to a
	// temporary file. Default: 64 KiB, and of its first 1 MiB what there is room for in
	// 16 MiB that all recordings share.
	ReplayMemory *int64 `json:"replay_memory,omitempty"`

	// The directory for temporary files, made when one is needed, or `off` to
	// record in memory alone. Default: the system's.
	ReplayDir string `json:"replay_dir,omitempty"`

	// The responses that reject a credential. Default: status 401.
	RefreshOn *caddyhttp.ResponseMatcher `json:"refresh_on,omitempty"`

	// The reverse proxy: a `reverse_proxy` handler, all of whose settings work as
	// ever. Its transport is wrapped in the one that authenticates.
	ProxyRaw json.RawMessage `json:"proxy,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	app      *App
	provider *provider
	tenant   *tenantSource
	allowed  map[credential.Tenant]struct{} // nil: all
	settings *wire.Settings
	proxy    caddyhttp.MiddlewareHandler
	logger   *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.upstream_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the configuration and loads the reverse proxy.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Slogger()
	app, err := ctx.App(appName)
	if err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	h.app = app.(*App)
	if h.provider = h.app.providers[h.Provider]; h.provider == nil {
		return fmt.Errorf("upstream_auth: no provider %q is configured", h.Provider)
	}
	if h.tenant, err = newTenantSource(h.Tenant); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	if h.allowed, err = parseTenants(h.Tenants); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	limits, err := h.parseLimits()
	if err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	h.settings = &wire.Settings{
		Provider:    h.provider.refresh,
		Coordinator: h.coordinator(),
		Prepare:     h.provider.values,
		Hosts:       h.provider.hosts,
		Private:     h.tenant.headers,
		Limits:      limits,
		Logger:      h.logger,
	}
	if h.RefreshOn != nil {
		h.settings.RefreshOn = h.RefreshOn.Match
	}
	if h.ProxyRaw, err = wrapTransport(h.ProxyRaw); err != nil {
		return fmt.Errorf("upstream_auth: proxy: %w", err)
	}
	proxy, err := ctx.LoadModule(h, "ProxyRaw")
	if err != nil {
		return fmt.Errorf("upstream_auth: proxy: %w", err)
	}
	h.proxy = proxy.(caddyhttp.MiddlewareHandler)
	if proxy, ok := proxy.(*reverseproxy.Handler); ok {
		h.settings.Retries = proxy.LoadBalancing != nil && len(proxy.LoadBalancing.RetryMatch) > 0
		if err := checkUpstreams(proxy, h.app.Providers[h.Provider].AllowedHosts); err != nil {
			return fmt.Errorf("upstream_auth: %w", err)
		}
	}
	return nil
}

// ServeHTTP authenticates the request by way of the reverse proxy. All that can
// fail here fails before the proxy is called, which would count our errors
// against the upstream's health and repeat them.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !h.app.use.acquire() {
		return fail(w, wire.CodeStoreUnavailable, errConfigurationGone)
	}
	defer h.app.use.release()

	tenant, err := h.tenant.resolve(r)
	if err != nil {
		return fail(w, tenantCode(err), err)
	}
	if _, ok := h.allowed[tenant]; h.allowed != nil && !ok {
		return fail(w, wire.CodeTenantUnknown, credential.ErrNotFound)
	}
	exchange := &wire.Exchange{Settings: h.settings, Tenant: tenant}
	exposed, err := h.prepare(r, exchange)
	if err != nil {
		return failStore(w, err)
	}
	if len(exposed) > 0 {
		repl := replacerOf(r)
		for i, path := range h.provider.expose {
			repl.Set(exposedPrefix+path, exposed[i])
		}
	}
	defer exchange.Close()
	caddyhttp.SetVar(r.Context(), exchangeVar, exchange)
	return h.proxy.ServeHTTP(w, r, next)
}

// prepare finds the credential of the exchange's tenant and makes it ready. One that
// has expired is refreshed first, if that can be done in time. It returns the values of
// the exposed fields.
func (h *Handler) prepare(r *http.Request, x *wire.Exchange) (exposed []string, err error) {
	backend := h.app.backend
	x.Credential, err = backend.cache.Get(r.Context(), credential.Key{Provider: h.provider.name, Tenant: x.Tenant})
	if errors.Is(err, credential.ErrNotFound) && h.provider.enroll.Fetch != nil {
		x.Credential, err = backend.enroller.Fetch(r.Context(), h.provider.enroll, x.Tenant, nil, h.logger)
	}
	if err != nil {
		return nil, err
	}
	ready := h.provider.prepare(x.Credential)
	if ready.expiresKnown {
		switch now := time.Now(); {
		case !now.Before(ready.expires):
			// The upstream has the last word: without a fresh token it is asked with
			// the old one.
			if refreshed, err := backend.coordinator.Refresh(r.Context(), h.provider.refresh, x.Tenant, x.Credential); err == nil {
				x.Credential, x.Fresh = refreshed, true
				ready = h.provider.prepare(refreshed)
			}
		case !now.Before(ready.aheadFrom):
			backend.coordinator.Ahead(h.provider.refresh, x.Tenant, x.Credential)
		}
	}
	x.Values = ready.values
	return ready.exposed, ready.err
}

// coordinator is what gets another credential for a rejected one.
func (h *Handler) coordinator() wire.Coordinator {
	if h.provider.enroll.Fetch == nil {
		return h.app.backend.coordinator
	}
	return &fetchingCoordinator{h.app.backend.coordinator, h.app.backend.enroller, h.provider.enroll, h.logger}
}

func (h *Handler) parseLimits() (wire.Limits, error) {
	limits := wire.DefaultLimits()
	limits.Shared = sharedMemory
	if h.ReplayMaxBody != nil {
		limits.MaxBody = *h.ReplayMaxBody
	}
	if h.ReplayMemory != nil {
		limits.Memory, limits.Shared = *h.ReplayMemory, nil
	}
	if limits.MaxBody < 0 || limits.Memory < 0 {
		return limits, errors.New("replay_max_body and replay_memory cannot be negative")
	}
	switch h.ReplayDir {
	case "":
	case "off":
		limits.Dir = ""
	default:
		resolve := newResolver()
		if limits.Dir = resolve.text("replay_dir", h.ReplayDir); resolve.err != nil {
			return limits, resolve.err
		}
	}
	return limits, nil
}

// sharedMemory spares most bodies the temporary file, whose making takes about as long
// as proxying a body of 1 MiB.
var sharedMemory = wire.NewSharedMemory(16 << 20)

// parseTenants checks the allow-list.
func parseTenants(names []string) (map[credential.Tenant]struct{}, error) {
	if len(names) == 0 {
		return nil, nil
	}
	tenants := make(map[credential.Tenant]struct{}, len(names))
	for _, name := range names {
		tenant, err := credential.ParseTenant(name)
		if err != nil {
			return nil, fmt.Errorf("tenants: %q: %w", name, err)
		}
		tenants[tenant] = struct{}{}
	}
	return tenants, nil
}

// exposedPrefix starts the placeholders of exposed fields.
const exposedPrefix = "upstream_auth.credential."

// placeholderName finds the placeholders in a text.
var placeholderName = regexp.MustCompile(`\{([^{}\s"]+)\}`)

// checkUpstreams guards upstreams that a request or a credential names: who can
// write either must not be able to have the credential sent anywhere.
func checkUpstreams(proxy *reverseproxy.Handler, allowedHosts []string) error {
	if len(allowedHosts) > 0 {
		return nil
	}
	places := []string{string(proxy.DynamicUpstreamsRaw)}
	for _, upstream := range proxy.Upstreams {
		places = append(places, upstream.Dial)
	}
	for _, place := range places {
		for _, name := range placeholderName.FindAllStringSubmatch(place, -1) {
			if checkRuntimePlaceholder(name[1]) != nil {
				return fmt.Errorf("an upstream named by {%s} needs allowed_hosts in the provider", name[1])
			}
		}
	}
	return nil
}

// wrapTransport puts our transport around the one in a reverse proxy's
// configuration.
func wrapTransport(proxy json.RawMessage) (json.RawMessage, error) {
	var config map[string]json.RawMessage
	if len(proxy) > 0 {
		if err := json.Unmarshal(proxy, &config); err != nil {
			return nil, err
		}
	}
	if config == nil { // JSON's null, too
		config = make(map[string]json.RawMessage)
	}
	const handler = `"reverse_proxy"`
	if name, given := config["handler"]; given && string(name) != handler {
		return nil, fmt.Errorf("the handler must be reverse_proxy, not %s", name)
	}
	config["handler"] = json.RawMessage(handler)
	inner := config["transport"]
	if inner == nil || string(inner) == "null" {
		inner = json.RawMessage(`{"protocol":"http"}`)
	}
	wrapped, err := json.Marshal(map[string]json.RawMessage{
		"protocol":  json.RawMessage(`"` + transportName + `"`),
		"transport": inner,
	})
	if err != nil {
		return nil, err
	}
	config["transport"] = wrapped
	return json.Marshal(config)
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
