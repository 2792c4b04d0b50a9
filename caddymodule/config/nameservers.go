package config

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// NameServers returns what asks the servers at these addresses, one of them at a time, as the
// setting `resolvers` of Caddy's transports does. None: the system's.
func NameServers(texts []string, timeout time.Duration) (*net.Resolver, error) {
	if len(texts) == 0 {
		return net.DefaultResolver, nil
	}
	var addresses []caddy.NetworkAddress
	for _, text := range texts {
		address, err := caddy.ParseNetworkAddressWithDefaults(text, "udp", 53)
		if err != nil {
			return nil, err
		}
		if address.PortRangeSize() != 1 {
			return nil, errors.New("resolvers: one address has one port")
		}
		addresses = append(addresses, address)
	}
	dialer := &net.Dialer{Timeout: timeout}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		at := addresses[rand.IntN(len(addresses))]
		return dialer.DialContext(ctx, at.Network, at.JoinHostPort(0))
	}}, nil
}
