package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/api"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/authorize"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
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

	// Names the tenant: a template of placeholders, or a name, if all requests are one
	// tenant's. A header field that it reads must be there exactly once. Header fields,
	// parameters of the query and cookies that it reads are not sent upstream; what it
	// reads by another placeholder is, as a header field that `{vars.*}` was set from:
	// take that out with `header_up -<field>`. Between two
	// placeholders stands a separator, whose characters the first one's value must not
	// have. Default: `{http.request.header.X-Tenant-ID}`.
	Tenant string `json:"tenant,omitempty"`

	// The tenants that may be named. Default: every tenant with a credential.
	Tenants []string `json:"tenants,omitempty"`

	// Who may use which tenant. A request that may not gets what one gets whose tenant has
	// no credential. Default: whoever reaches the handler may use any.
	Authorize *authorize.Config `json:"authorize,omitempty"`

	// The requests that may be sent more than once. The others' bodies are not recorded; their
	// credential is refreshed as ever. Default: all.
	ReplayRaw caddyhttp.RawMatcherSets `json:"replay,omitempty" caddy:"namespace=http.matchers"`

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

	// Whether cookies pass between the app and the upstream where requests name their
	// tenant: `pass` or `drop`. An app that keeps cookies, as HTTP clients do, would send
	// those of one tenant with another's requests. Default: `drop`.
	Cookies string `json:"cookies,omitempty"`

	// Whether `X-Forwarded-*`, `Forwarded` and `Via` are sent to hosts that are neither
	// this machine nor in a private network. Default: no.
	ForwardedHeaders bool `json:"forwarded_headers,omitempty"`

	// Whether upstreams on other machines may be spoken to without TLS, so that whoever is
	// on the way reads the credential. Default: no, unless the provider says so.
	InsecureHTTP bool `json:"insecure_http,omitempty"`

	// Whether connections to the upstream are made to public addresses alone, whatever its
	// name resolves to: neither to this machine nor to a private network. For upstreams that
	// requests or credentials name. Default: no.
	PublicOnly bool `json:"public_only,omitempty"`

	// What is removed from answers of the credential that was sent: `headers`, where an
	// upstream repeats a value of at least 8 bytes that a scheme has set, as it is or in
	// base64, hexadecimal or URL encoding, in a header field or a trailer; `body`, in the
	// body, too, where each of its bytes becomes a `*`; or nothing, `off`. With `body`
	// upstreams are asked for answers without compression, and of a stream's end is kept
	// back what may be the beginning of such a value. Not found is a value in another
	// encoding, in parts, or in the body of an answer that is compressed all the same or has
	// changed protocols. Default: `headers`.
	Scrub string `json:"scrub,omitempty"`

	// The responses that reject a credential. Default: status 401.
	RefreshOn *RefreshOn `json:"refresh_on,omitempty"`

	// What becomes of a request whose token has expired and cannot be refreshed: `send` has
	// the upstream say what it thinks of it; `reject` answers 401. Default: `send`.
	OnRefreshFailure string `json:"on_refresh_failure,omitempty"`

	// The reverse proxy: a `reverse_proxy` handler, all of whose settings work as
	// ever. Its transport is wrapped in the one that authenticates.
	ProxyRaw json.RawMessage `json:"proxy,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	app        *App
	provider   *upstream.Provider
	tenant     *tenantSource
	authorizer *authorize.Authorizer          // nil: there is no Authorize
	allowed    map[credential.Tenant]struct{} // nil: all
	replay     caddyhttp.MatcherSets          // empty: all
	settings   *proxy.Settings
	proxy      caddyhttp.MiddlewareHandler
	logger     *slog.Logger
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
	app, err := ctx.App(config.AppName)
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
	if err := errors.Join(checkWord("cookies", h.Cookies, "pass", "drop"), checkWord("scrub", h.Scrub, "headers", "body", "off"),
		checkWord("on_refresh_failure", h.OnRefreshFailure, "send", "reject")); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	if h.allowed, err = parseTenants(h.Tenants); err == nil {
		err = checkFixedTenant(h.Tenant, h.Tenants)
	}
	if err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	limits, err := h.parseLimits()
	limits.Room = h.app.backend.room(h.app, limits.Dir)
	if err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	h.settings = &proxy.Settings{
		Provider:    h.provider,
		Credentials: h.app.backend.credentials(h.logger),
		NamedBy:     h.tenant.names,

		PassCookies:   h.Cookies == "pass",
		PassForwarded: h.ForwardedHeaders,
		PassSecrets:   h.Scrub == "off",
		ScrubBodies:   h.Scrub == "body",
		Limits:        limits,
		Logger:        h.logger,
	}
	if err := h.loadReplay(ctx); err != nil {
		return fmt.Errorf("upstream_auth: replay: %w", err)
	}
	if h.RefreshOn != nil {
		h.settings.RefreshOn = h.RefreshOn.Match
	}
	if h.Authorize != nil {
		if err := h.provisionAuthorize(ctx); err != nil {
			return fmt.Errorf("upstream_auth: %w", err)
		}
		h.settings.NamedBy.Headers = append(slices.Clone(h.tenant.names.Headers), h.authorizer.Headers()...)
	}
	conf := h.app.Providers[h.Provider]
	h.settings.TLSOnly = !h.InsecureHTTP && !conf.InsecureHTTP
	if h.settings.Hosts, err = h.checkUpstreams(conf, config.NewResolver()); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	host := "" // as ever
	if len(conf.AllowedHosts) == 0 {
		host = "{http.reverse_proxy.upstream.hostport}" // and not the client's
		if h.settings.Hosts.Allows("localhost") {
			host = "localhost" // a socket has no host
		}
	}
	if h.ProxyRaw, err = wrapTransport(h.ProxyRaw, host, h.PublicOnly); err != nil {
		return fmt.Errorf("upstream_auth: proxy: %w", err)
	}
	proxy, err := ctx.LoadModule(h, "ProxyRaw")
	if err != nil {
		return fmt.Errorf("upstream_auth: proxy: %w", err)
	}
	h.proxy = proxy.(caddyhttp.MiddlewareHandler)
	if proxy, ok := proxy.(*reverseproxy.Handler); ok {
		h.settings.Retries = proxy.LoadBalancing != nil && len(proxy.LoadBalancing.RetryMatch) > 0
	}
	return nil
}

// ServeHTTP authenticates the request by way of the reverse proxy. All that can
// fail here fails before the proxy is called, which would count our errors
// against the upstream's health and repeat them.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	release, ok := h.app.Use()
	if !ok {
		return fail(w, r, proxy.CodeStoreUnavailable, rest.ErrConfigurationGone)
	}
	defer release()

	api.CloseAfterUpload(w, r)
	if err := checkMethod(r); err != nil {
		return fail(w, r, proxy.CodeMethodNotAllowed, err)
	}
	withoutH2C(r)
	tenant, err := h.findTenant(r)
	if err != nil {
		return failOpening(w, r, err)
	}
	if _, ok := h.allowed[tenant]; h.allowed != nil && !ok {
		return fail(w, r, proxy.CodeTenantUnknown, credential.ErrNotFound)
	}
	account, err := h.provider.Budget.Take(string(tenant), budget.Requests)
	if err != nil {
		return fail(w, r, proxy.CodeTooManyRequests, err)
	}
	defer account.Give(budget.Requests, 1)
	opened, err := h.settings.Credentials.Open(r.Context(), h.provider, tenant)
	if err != nil {
		return failOpening(w, r, err)
	}
	if opened.Expired != nil && h.OnRefreshFailure == "reject" {
		return failExpired(w, r, opened.Expired)
	}
	s := &served{Exchange: proxy.Exchange{Settings: h.settings, Tenant: tenant, Account: account, Answer: w.Header(), Opened: opened}}
	s.answer.ResponseWriter, s.answer.exchange = w, &s.Exchange
	if len(opened.Exposed) > 0 {
		repl := replacerOf(r)
		for i, path := range h.provider.Expose {
			repl.Set(exposedPrefix+path, opened.Exposed[i])
		}
	}
	defer s.Close()
	if s.SentOnce, err = h.sendsOnce(r); err != nil {
		return err
	}
	caddyhttp.SetVar(r.Context(), exchangeVar, &s.Exchange)
	return h.proxy.ServeHTTP(&s.answer, r, next)
}

// Admits reports whether a request may be made for the tenant that it names, as far as that
// can be known without the tenant's credential. The errors are those with which it would
// be refused.
func (h *Handler) Admits(r *http.Request) error {
	release, ok := h.app.Use()
	if !ok {
		return rest.ErrConfigurationGone
	}
	defer release()
	tenant, err := h.findTenant(r)
	if _, ok := h.allowed[tenant]; err == nil && h.allowed != nil && !ok {
		return credential.ErrNotFound
	}
	return err
}

// TLSOnly reports whether requests to other machines are sent by TLS alone.
func (h *Handler) TLSOnly() bool { return h.settings.TLSOnly }

// findTenant returns the tenant that r names and may use.
func (h *Handler) findTenant(r *http.Request) (credential.Tenant, error) {
	if h.authorizer == nil {
		return h.tenant.resolve(r)
	}
	return h.authorizer.Authorize(r, h.tenant.resolve, h.Tenant == "")
}

func (h *Handler) parseLimits() (body.Limits, error) {
	limits := body.DefaultLimits()
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
		resolve := config.NewResolver()
		if limits.Dir = resolve.Text("replay_dir", h.ReplayDir); resolve.Err() != nil {
			return limits, resolve.Err()
		}
	}
	return limits, nil
}

// sharedMemory spares most bodies the temporary file, whose making takes about as long
// as proxying a body of 1 MiB.
var sharedMemory = body.NewSharedMemory(16 << 20)

// errMethod refuses methods that are not for an API.
var errMethod = errors.New("TRACE and CONNECT are not sent on")

// checkMethod refuses TRACE, whose answer has the request's header in it, and CONNECT, but
// for the one by which HTTP/2 and HTTP/3 open a WebSocket (RFC 8441, RFC 9220), as Caddy's
// reverse proxy knows it.
func checkMethod(r *http.Request) error {
	webSocket := r.ProtoMajor == 2 && r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket"
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect && !webSocket {
		return errMethod
	}
	return nil
}

// withoutH2C takes the wish to go on with HTTP/2 out of a request, which concerns this hop
// alone (RFC 7540 section 3.2): Java's client has it in every cleartext request.
func withoutH2C(r *http.Request) {
	if upgrade := r.Header["Upgrade"]; len(upgrade) != 1 || !strings.EqualFold(strings.TrimSpace(upgrade[0]), "h2c") {
		return
	}
	var options []string // what else is of this hop alone
	for _, line := range r.Header["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if o := strings.TrimSpace(option); !strings.EqualFold(o, "Upgrade") && !strings.EqualFold(o, "HTTP2-Settings") {
				options = append(options, o)
			}
		}
	}
	delete(r.Header, "Upgrade")
	delete(r.Header, "Http2-Settings")
	delete(r.Header, "Connection")
	if len(options) > 0 {
		r.Header["Connection"] = []string{strings.Join(options, ", ")}
	}
}

// checkWord checks a setting that is one of a few words, or not there.
func checkWord(name, text string, words ...string) error {
	if text == "" || slices.Contains(words, text) {
		return nil
	}
	return fmt.Errorf("%s: '%s' is none of %s", name, text, strings.Join(words, ", "))
}

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

// wrapTransport puts our transport, with the Host that it has requests name, around the one
// in a reverse proxy's configuration.
func wrapTransport(proxy json.RawMessage, host string, publicOnly bool) (json.RawMessage, error) {
	var conf map[string]json.RawMessage
	if len(proxy) > 0 {
		if err := json.Unmarshal(proxy, &conf); err != nil {
			return nil, err
		}
	}
	if conf == nil { // JSON's null, too
		conf = make(map[string]json.RawMessage)
	}
	const handler = `"reverse_proxy"`
	if name, given := conf["handler"]; given && string(name) != handler {
		return nil, fmt.Errorf("the handler must be reverse_proxy, not %s", name)
	}
	conf["handler"] = json.RawMessage(handler)
	inner := conf["transport"]
	if inner == nil || string(inner) == "null" {
		inner = json.RawMessage(`{"protocol":"http"}`)
	}
	wrapped, err := json.Marshal(map[string]any{"protocol": transportName, "transport": inner, "host": host, "public_only": publicOnly})
	if err != nil {
		return nil, err
	}
	conf["transport"] = wrapped
	return json.Marshal(conf)
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
