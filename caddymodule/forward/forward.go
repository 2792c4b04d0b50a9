// Package forward is the forward proxy: the door for apps that know their proxy alone.
package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/failure"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

func init() {
	caddy.RegisterModule(new(Forward))
}

// dialTimeout is how long a tunnel's other end has to take a connection, as with Caddy's
// reverse proxy, and a little for its name to be resolved.
const dialTimeout = 5 * time.Second

// Forward is a forward proxy for apps that have the addresses of the APIs that they call compiled
// in: they are told of it by `http_proxy` and `https_proxy`, and change nothing else. It
// authenticates requests to the hosts that its providers claim by `allowed_hosts`, as the
// handler `upstream_auth` does. For these it takes the place of the server (TLS is
// terminated with a certificate that one of Caddy's own authorities has issued), and so the app has to
// trust that authority. Other hosts are refused, unless they are named in `tunnel`.
//
// The user of the proxy is `{upstream_auth.proxy_user}`. The password is checked by
// `authorize`, where that names no header of its own.
type Forward struct {
	// The providers whose hosts are claimed. Each needs allowed_hosts; an entry there
	// without a port stands for 443, and 80, here.
	Providers []string `json:"providers,omitempty"`

	// What becomes of a claimed request: the settings of the handler `upstream_auth`, but for
	// the provider and the upstreams. `{upstream_auth.proxy_user}` may name the tenant.
	Settings json.RawMessage `json:"settings,omitempty"`

	// Where else the app may go, without being looked at: hosts with a port, as in
	// allowed_hosts. Default: nowhere.
	Tunnel []string `json:"tunnel,omitempty"`

	// Whether connections may be made to this machine and to private networks. Default: no, a
	// name that resolves to an address there is refused.
	Private bool `json:"private,omitempty"`

	// The certificate authority of Caddy's app `pki` that the app trusts. Default: `local`.
	CA string `json:"ca,omitempty"`

	claims    []*claim
	tunnels   hosts.List
	who       identification
	authority *authority
	dialer    *net.Dialer
	plain     http.RoundTripper // to hosts that are not claimed
	inner     *interceptor
	ctx       context.Context
	logger    *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (*Forward) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.upstream_auth_forward",
		New: func() caddy.Module { return new(Forward) },
	}
}

// Provision checks the configuration and loads the handlers of claimed requests.
func (f *Forward) Provision(ctx caddy.Context) error {
	f.logger, f.ctx = ctx.Slogger(), ctx
	if err := f.check(); err != nil {
		return fmt.Errorf("upstream_auth_forward: %w", err)
	}
	f.Settings = withProxyPassword(f.Settings)
	f.who = identificationOf(f.Settings)
	for _, name := range f.Providers {
		c, err := f.load(ctx, name)
		if err != nil {
			return fmt.Errorf("upstream_auth_forward: provider %s: %w", name, err)
		}
		f.claims = append(f.claims, c)
	}
	var err error
	if f.authority, err = newAuthority(ctx, f.CA); err != nil {
		return fmt.Errorf("upstream_auth_forward: ca: %w", err)
	}
	f.dialer = &net.Dialer{Timeout: dialTimeout}
	if f.dialer.Resolver, err = f.nameServers(); err != nil {
		return fmt.Errorf("upstream_auth_forward: %w", err)
	}
	if !f.Private {
		f.dialer.Control = hosts.PublicOnly
	}
	transport := &http.Transport{DialContext: f.dialer.DialContext, MaxIdleConnsPerHost: 32, IdleConnTimeout: 2 * time.Minute}
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	f.plain = transport
	f.inner = newInterceptor(f)
	return nil
}

// nameServers are those of the transport of claimed requests: names that lead the app here,
// as by its hosts file, lead there elsewhere.
func (f *Forward) nameServers() (*net.Resolver, error) {
	var addresses []string
	for _, address := range gjson.GetBytes(f.Settings, "proxy.transport.resolver.addresses").Array() {
		addresses = append(addresses, address.Str)
	}
	return config.NameServers(addresses, dialTimeout)
}

// check looks at what needs nothing else.
func (f *Forward) check() error {
	if len(f.Providers) == 0 {
		return errors.New("providers: none is named, to whose allowed_hosts requests are intercepted")
	}
	return f.checkTunnel()
}

func (f *Forward) checkTunnel() (err error) {
	if f.tunnels, err = hosts.Parse(f.Tunnel); err != nil {
		return fmt.Errorf("tunnel: %w", err)
	}
	for _, pattern := range f.tunnels.Patterns() {
		if _, port, _ := hosts.Split(strings.TrimPrefix(pattern, "*.")); port == 0 {
			return fmt.Errorf("tunnel: %s has no port", pattern)
		}
	}
	return nil
}

// Cleanup ends connections, those with a request under way when that is over.
func (f *Forward) Cleanup() error {
	if f.inner != nil {
		f.inner.shutdown()
	}
	return nil
}

// ServeHTTP serves requests to a proxy, and those that come through its claimed connections.
func (f *Forward) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if c, ok := connectionOf(r.Context()); ok && c.forward == f {
		return c.serve(w, r, next)
	}
	switch {
	case r.Method == http.MethodConnect:
		return f.connect(w, r)
	case r.URL.Host != "":
		return f.serveAbsolute(w, r, next)
	default:
		return refuse(w, r, http.StatusBadRequest, proxy.CodeNoProxyRequest, errors.New("it has neither the method CONNECT nor an absolute URL"))
	}
}

// The usual ports, which stand for an entry of allowed_hosts without one.
const (
	portHTTPS = 443
	portHTTP  = 80
)

// claimOf returns what claims a host at a port, nil if nothing does.
func (f *Forward) claimOf(host string, port uint16) *claim {
	for _, c := range f.claims {
		if c.hosts.Claims(host, port, portHTTPS, portHTTP) {
			return c
		}
	}
	return nil
}

// serveAbsolute serves a request with an absolute URL, as a proxy gets them for http.
func (f *Forward) serveAbsolute(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	host, port, ok := hosts.Split(r.URL.Host)
	if scheme := r.URL.Scheme; !ok || scheme != "http" && scheme != "https" {
		return refuse(w, r, http.StatusBadRequest, proxy.CodeNoProxyRequest, errors.New("its URL is neither http nor https"))
	}
	encrypted := r.URL.Scheme == "https"
	if port == 0 {
		port = map[bool]uint16{true: portHTTPS, false: portHTTP}[encrypted]
	}
	user, err := f.who.user(r)
	if err != nil {
		return refuseUser(w, r, err)
	}
	target := target{host: host, port: port}
	if c := f.claimOf(host, port); c != nil {
		if !encrypted && port == portHTTP && c.plain.TLSOnly() && !credential.IsLoopback(host) {
			target.port, encrypted = portHTTPS, true // the credential does not go in the clear
			r.Host = host
		}
		return f.serveClaimed(w, r, next, c, target, encrypted, user)
	}
	if encrypted || !f.tunnels.Claims(host, port) {
		return refuse(w, r, http.StatusForbidden, proxy.CodeHostNotAllowed, fmt.Errorf("neither a provider nor a tunnel is for port %d of the host", port))
	}
	if err := f.admit(r, f.claims[0], user); err != nil {
		return refuseUser(w, r, err)
	}
	return f.servePlain(w, r)
}

// refuse answers a request that is not served.
func refuse(w http.ResponseWriter, r *http.Request, status int, code proxy.Code, err error) error {
	return failure.With(w, r, status, code, err)
}

// target is where a claimed request goes.
type target struct {
	host string
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.host, fmt.Sprint(t.port)) }

// names reports whether a Host means the target, with the port that is usual or none.
func (t target) names(host string, usual uint16) bool {
	name, port, ok := hosts.Split(host)
	if port == 0 {
		port = usual
	}
	return ok && name == t.host && port == t.port
}

// replacerOf returns a request's placeholders.
func replacerOf(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}
