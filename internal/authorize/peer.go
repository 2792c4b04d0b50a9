package authorize

import (
	"context"
	"net"
)

// peer is the process at the other end of a Unix socket.
type peer struct{ uid, gid uint32 }

type peerKey struct{}

// WithPeer returns the context of requests on a connection, in which [Authorizer.Authorize]
// finds the process at its other end.
func WithPeer(ctx context.Context, conn net.Conn) context.Context {
	for {
		wrapped, ok := conn.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		conn = wrapped.NetConn()
	}
	if socket, ok := conn.(*net.UnixConn); ok {
		if p, err := peerOf(socket); err == nil {
			return context.WithValue(ctx, peerKey{}, p)
		}
	}
	return ctx
}
