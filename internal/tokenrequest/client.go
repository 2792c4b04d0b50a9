package tokenrequest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/idna"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// connectTimeout bounds the way to the endpoint, a proxy and TLS included.
	connectTimeout = 5 * time.Second

	// maxHeader bounds an answer's header in bytes.
	maxHeader = 64 << 10
)

// Client is the [Dialer] that uses the network. Its zero value is ready for use, by
// many at once.
type Client struct {
	// Proxy returns the proxy for a request to an endpoint, nil for none. Default:
	// [http.ProxyFromEnvironment].
	Proxy func(*http.Request) (*url.URL, error)

	// dial makes connections in tests. Default: TCP.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial implements [Dialer] within 5 s. The endpoint is https, or http on a loopback
// host.
//
// The request will go out over HTTP/1.1, since HTTP/2 repeats what a server did not
// take, on a connection that was not used before, since one that was idle may be
// gone.
func (c *Client) Dial(ctx context.Context, endpoint string, config *tls.Config) (Conn, error) {
	u, err := credential.ParseEndpoint(endpoint)
	if err != nil {
		return nil, notConnected(err)
	}
	address, err := addressOf(u)
	if err != nil {
		return nil, notConnected(err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var g *gate
	client, err := c.transport(u, config, &g).NewClientConn(ctx, u.Scheme, address)
	if err != nil {
		if g != nil {
			g.Close()
		}
		return nil, notConnected(err)
	}
	return &conn{client: client, gate: g}, nil
}

// transport makes one for one connection to u, which g will point to.
func (c *Client) transport(u *url.URL, config *tls.Config, g **gate) *http.Transport {
	dial := c.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	proxy := c.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if config = config.Clone(); config == nil {
		config = new(tls.Config)
	}
	config.NextProtos = []string{"http/1.1"} // so that a server that speaks HTTP/2 alone refuses now
	return &http.Transport{
		// NewClientConn asks with a URL that lacks the port.
		Proxy: func(*http.Request) (*url.URL, error) {
			return proxy(&http.Request{Method: http.MethodPost, URL: u, Host: u.Host})
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			*g = &gate{Conn: conn}
			return *g, nil
		},
		TLSClientConfig:        config,
		DisableKeepAlives:      true,
		Protocols:              protocols,
		MaxResponseHeaderBytes: maxHeader,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return proxyError(answer.StatusCode)
			}
			return nil
		},
	}
}

// addressOf returns the host and port of u.
func addressOf(u *url.URL) (string, error) {
	host := u.Hostname()
	for i := range len(host) {
		if host[i] >= 0x80 { // as net/http does it for names alone
			ascii, err := idna.Lookup.ToASCII(host)
			if err != nil {
				return "", errors.New("the host has no name in DNS")
			}
			host = ascii
			break
		}
	}
	port := "443"
	if u.Scheme == "http" {
		port = "80"
	}
	return net.JoinHostPort(host, cmp.Or(u.Port(), port)), nil
}

// proxyError is the status of a proxy that does not let us through.
type proxyError int

func (e proxyError) Error() string { return fmt.Sprintf("the proxy answered %d", int(e)) }

var _ Dialer = (*Client)(nil)
