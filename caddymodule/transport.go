package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// transportName is the name of our module among the reverse proxy's transports.
const transportName = "upstream_auth"

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport authenticates the requests that the handler `upstream_auth` prepared,
// as they go out: after the reverse proxy changed header, path and Host. The
// handler puts it around the transport that is configured; it is of no use by
// itself. Requests that come from elsewhere, such as active health checks, pass
// through unchanged.
type Transport struct {
	// The transport that does the work.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// The Host that requests name, unless `header_up` says something else. The handler sets
	// it where a provider has no allowed_hosts, lest clients choose it. Default: the
	// transport's inside, or the client's.
	Host string `json:"host,omitempty"`

	// Whether connections are made to public addresses alone. The handler sets it.
	PublicOnly bool `json:"public_only,omitempty"`

	base   http.RoundTripper
	sender *proxy.Transport
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport." + transportName,
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision loads the transport inside.
func (t *Transport) Provision(ctx caddy.Context) error {
	if from := gjson.GetBytes(t.TransportRaw, "network_proxy.from").Str; t.PublicOnly && from != "" && from != "none" {
		return errors.New("public_only excludes network_proxy, which would do the connecting")
	}
	module, err := ctx.LoadModule(t, "TransportRaw")
	if err != nil {
		return fmt.Errorf("loading transport: %w", err)
	}
	if _, ok := module.(*fastcgi.Transport); ok {
		return errors.New("transport fastcgi logs what it sends, the credential included: it cannot be used here")
	}
	base, ok := module.(http.RoundTripper)
	if !ok {
		return fmt.Errorf("transport %T is not a http.RoundTripper", module)
	}
	t.base = base
	t.sender = &proxy.Transport{Base: base, DialedHost: t.dialedHost, Encrypts: t.encrypts}
	own, ok := base.(*reverseproxy.HTTPTransport)
	if !ok && t.PublicOnly {
		return errors.New("public_only needs the transport http")
	}
	if ok {
		if t.PublicOnly {
			if err := dialPublicOnly(own); err != nil {
				return err
			}
		}
		keepEarlyAnswers(own.Transport)
		t.sender.Apart = func(configure func(*tls.Config) *tls.Config) (proxy.ApartTransport, error) {
			return apart(own, configure)
		}
	}
	return nil
}

// continueTimeout is how long an upstream has to say that it wants a body whose client
// asked first (`Expect: 100-continue`), as with [http.DefaultTransport]. An upstream that
// refuses such a request by its header alone may not read on, and Caddy's default is not to
// wait at all.
const continueTimeout = time.Second

// keepEarlyAnswers has answers arrive that come before the request has been sent. (Caddy's
// own TLS dialer, which it has for server names with placeholders and for the PROXY
// protocol, stays as it is.)
func keepEarlyAnswers(t *http.Transport) {
	if t.ExpectContinueTimeout == 0 {
		t.ExpectContinueTimeout = continueTimeout
	}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return proxy.WithEarlyAnswers(conn), nil
	}
}

// Cleanup closes connections of single credentials.
func (t *Transport) Cleanup() error {
	if t.sender != nil {
		t.sender.CloseIdleConnections()
	}
	return nil
}

// apart returns a transport like another, with connections of its own.
func apart(like *reverseproxy.HTTPTransport, configure func(*tls.Config) *tls.Config) (proxy.ApartTransport, error) {
	if like.Transport.DialTLSContext != nil {
		return nil, errors.New("a TLS server name with a placeholder, or the PROXY protocol, and a scheme that authenticates connections exclude each other")
	}
	own := *like
	own.Transport = like.Transport.Clone()
	base := own.Transport.TLSClientConfig
	if base == nil {
		base = new(tls.Config)
	}
	own.Transport.TLSClientConfig = configure(base.Clone())
	return &apartTransport{own}, nil
}

type apartTransport struct{ reverseproxy.HTTPTransport }

// CloseIdleConnections implements [proxy.ApartTransport].
func (t *apartTransport) CloseIdleConnections() { t.Transport.CloseIdleConnections() }

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	exchange, _ := caddyhttp.GetVar(req.Context(), exchangeVar).(*proxy.Exchange)
	return t.sender.Send(req, exchange)
}

// exchangeVar is the variable of a request by which the handler passes the exchange to
// the transport. A context of its own would cost every request a copy of it, and each
// look into the context a step more.
const exchangeVar = "upstream_auth.exchange"

// dialedHost returns the host, with its port, that vouches for where req goes: the
// TLS server name where one is configured and the certificate is checked for it, else the
// name that is dialled. For a Unix socket it is the socket's address.
func (t *Transport) dialedHost(req *http.Request) string {
	dial, ok := reverseproxy.GetDialInfo(req.Context())
	if !ok {
		return req.URL.Host
	}
	if name := t.serverName(req); name != "" {
		return net.JoinHostPort(name, dial.Port)
	}
	if strings.HasPrefix(dial.Network, "unix") {
		return dial.Network + "/" + dial.Address
	}
	if strings.HasPrefix(dial.Address, ":") {
		return "localhost" + dial.Address // net.Dial's word for this machine
	}
	return dial.Address
}

// encrypts reports whether req goes out by TLS.
func (t *Transport) encrypts(req *http.Request) bool {
	if own, ok := t.base.(*reverseproxy.HTTPTransport); ok {
		return own.TLS != nil && !slices.Contains(own.TLS.ExceptPorts, req.URL.Port())
	}
	return t.TLSEnabled()
}

// serverName returns the name that the upstream's certificate has to be for, if one is
// configured.
func (t *Transport) serverName(req *http.Request) string {
	http, ok := t.base.(*reverseproxy.HTTPTransport)
	if !ok || !t.encrypts(req) || http.TLS.ServerName == "" || http.TLS.InsecureSkipVerify {
		return ""
	}
	name := http.TLS.ServerName
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		name = repl.ReplaceAll(name, "")
	}
	return name
}

// The reverse proxy asks its transport for more than round trips. What the
// transport inside cannot do is answered as if it had not been asked.

// TLSEnabled reports whether the transport inside uses TLS.
func (t *Transport) TLSEnabled() bool {
	inner, ok := t.base.(reverseproxy.TLSTransport)
	return ok && inner.TLSEnabled()
}

// EnableTLS enables TLS in the transport inside.
func (t *Transport) EnableTLS(conf *reverseproxy.TLSConfig) error {
	if inner, ok := t.base.(reverseproxy.TLSTransport); ok {
		return inner.EnableTLS(conf)
	}
	return errors.New("the transport cannot use TLS")
}

// EnableH2C enables HTTP/2 without TLS in the transport inside.
func (t *Transport) EnableH2C() error {
	if inner, ok := t.base.(reverseproxy.H2CTransport); ok {
		return inner.EnableH2C()
	}
	return errors.New("the transport cannot use h2c")
}

// OverrideHealthCheckScheme lets the transport inside choose the scheme of
// health checks.
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if inner, ok := t.base.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		inner.OverrideHealthCheckScheme(base, port)
	}
}

// ProxyProtocolEnabled reports whether the transport inside speaks the PROXY
// protocol.
func (t *Transport) ProxyProtocolEnabled() bool {
	inner, ok := t.base.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// RequiresContentLength reports whether the transport inside needs to know the
// length of a request body.
func (t *Transport) RequiresContentLength() bool {
	inner, ok := t.base.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// DefaultBufferSizes returns those of the transport inside.
func (t *Transport) DefaultBufferSizes() (request, response int64) {
	if inner, ok := t.base.(reverseproxy.BufferedTransport); ok {
		return inner.DefaultBufferSizes()
	}
	return 0, 0
}

// RequestHeaderOps returns those of the transport inside, or what sets Host.
func (t *Transport) RequestHeaderOps() *headers.HeaderOps {
	if inner, ok := t.base.(reverseproxy.RequestHeaderOpsTransport); ok {
		if ops := inner.RequestHeaderOps(); ops != nil {
			return ops
		}
	}
	if t.Host == "" {
		return nil
	}
	return &headers.HeaderOps{Set: http.Header{"Host": {t.Host}}}
}

var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Transport)(nil)
	_ reverseproxy.BufferedTransport                   = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)
