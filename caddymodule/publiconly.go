package caddymodule

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
)

// dialPublicOnly has a transport connect to public addresses alone. It has a dialer of its own,
// since Caddy's cannot be told which of a name's addresses it may connect to.
func dialPublicOnly(t *reverseproxy.HTTPTransport) error {
	if t.LocalAddress != "" || t.ProxyProtocol != "" || t.ReadTimeout != 0 || t.WriteTimeout != 0 ||
		t.Transport.DialTLSContext != nil || slices.Contains(t.Versions, "3") {
		return errors.New("public_only excludes local_address, proxy_protocol, read_timeout, write_timeout, a tls_server_name with a placeholder, and version 3")
	}
	dialer := &net.Dialer{Timeout: time.Duration(t.DialTimeout), FallbackDelay: time.Duration(t.FallbackDelay), Control: hosts.PublicOnly}
	if t.Resolver != nil {
		var err error
		if dialer.Resolver, err = config.NameServers(t.Resolver.Addresses, dialer.Timeout); err != nil {
			return err
		}
	}
	t.Transport.Proxy = nil // it would connect in our place
	t.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if info, ok := reverseproxy.GetDialInfo(ctx); ok {
			network, address = info.Network, info.Address
		}
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, reverseproxy.NewDialError(err)
		}
		return conn, nil
	}
	return nil
}
