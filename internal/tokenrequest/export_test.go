package tokenrequest

import (
	"context"
	"net"
	"net/http"
	"net/url"
)

const MaxBody = maxBody

// NewTestClient makes a client whose connections come from dial.
func NewTestClient(dial func(ctx context.Context, network, address string) (net.Conn, error), proxy *url.URL) *Client {
	return &Client{dial: dial, Proxy: http.ProxyURL(proxy)}
}

// OpenedGate returns a connection through which a request may go, until it is closed.
func OpenedGate(conn net.Conn, limits Limits) (opened net.Conn, closeGate func() (sent bool)) {
	g := &gate{Conn: conn}
	g.open(limits)
	return g, g.close
}

func CleanDescription(text string, secrets []string) string { return cleanDescription(text, secrets) }
