package setup

import (
	"context"
	"net"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

var upstream = &process.Program{Module: ".", Package: "upstream"}

// StartUpstream starts the server behind the proxies, on the processors that pin says, and
// returns its address.
func StartUpstream(ctx context.Context, b *Bench, pin func(process.Command) process.Command) (string, error) {
	path, err := b.Path(upstream)
	if err != nil {
		return "", err
	}
	address, err := process.FreeAddress()
	if err != nil {
		return "", err
	}
	p, err := b.Start(pin(process.Command{Path: path, Args: []string{"-listen", address}}))
	if err != nil {
		return "", err
	}
	return address, Await(ctx, p, address)
}

// Await waits until a process listens at address.
func Await(ctx context.Context, p *process.Process, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
