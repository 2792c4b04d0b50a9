package tokenrequest

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// errGate ends a request of which nothing was sent.
var errGate = errors.New("the token request is held back")

// gate is a connection below TLS. It lets the handshakes pass, looks at the clock
// right before the request's first byte, and knows afterwards whether any byte of it
// can have left.
type gate struct {
	net.Conn

	mu     sync.Mutex
	limits *Limits // of the request; nil during the handshakes
	sent   bool    // a byte of the request may have left
	shut   bool    // nothing passes any more
}

// open lets the request through, if it starts in time.
func (g *gate) open(limits Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = &limits
}

// close lets nothing pass any more, and reports whether the request may have been
// sent.
func (g *gate) close() (sent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	return g.sent
}

// pass reports whether bytes may be written now, and whether they are the request's
// first.
func (g *gate) pass() (pass, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first = g.limits != nil && !g.sent
	if first && !g.limits.MaySend() {
		g.shut = true
	}
	if g.shut {
		return false, false
	}
	g.sent = g.sent || first
	return true, first
}

// Write implements [net.Conn].
func (g *gate) Write(b []byte) (int, error) {
	pass, first := g.pass()
	if !pass {
		return 0, errGate
	}
	n, err := g.Conn.Write(b)
	switch {
	case err == nil:
	case first && n == 0:
		g.mu.Lock()
		g.shut, g.sent = true, false
		g.mu.Unlock()
	case g.maySent() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		// The endpoint did not read to the end, but may have answered: net/http would
		// not read that after an error.
		return len(b), nil
	}
	return n, err
}

func (g *gate) maySent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sent
}
