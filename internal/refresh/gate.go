package refresh

import (
	"errors"
	"net"
	"sync"
	"time"
)

var errGate = errors.New("the token request is held back")

// gate stands between a token request and its connection. It lets the handshakes
// pass, holds the request back until the claim is made, looks at the clock right
// before the request's first byte, and knows afterwards whether any byte of it
// can have left.
type gate struct {
	mu       sync.Mutex
	armed    bool // the handshakes are over: what passes now is the request
	shut     bool
	sent     bool // a byte of the request may have left
	deadline deadline
}

// arm lets the request through, if it starts before the deadline.
func (g *gate) arm(d deadline) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.deadline = true, d
}

// pass reports whether bytes may be written now.
func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed && !g.sent && g.deadline.passed() {
		g.shut = true
	}
	if g.shut {
		return false
	}
	g.sent = g.sent || g.armed
	return true
}

// failed notes that the first write of the request wrote nothing.
func (g *gate) failed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.sent = true, false
}

// close lets nothing pass any more, and reports whether the request may have been
// sent.
func (g *gate) close() (sent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	return g.sent
}

func (g *gate) isFirst() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.armed && !g.sent
}

// gatedConn is a connection behind a gate.
type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Write(b []byte) (int, error) {
	first := c.gate.isFirst()
	if !c.gate.pass() {
		return 0, errGate
	}
	n, err := c.Conn.Write(b)
	if first && n == 0 && err != nil {
		c.gate.failed()
	}
	return n, err
}

// deadline is a point in time that a process that was stopped, or a machine that
// slept, does not miss: it is looked at by the monotonic and by the wall clock.
type deadline struct {
	start time.Time
	after time.Duration
}

func (d deadline) passed() bool { return d.left() <= 0 }

func (d deadline) left() time.Duration {
	now := time.Now()
	elapsed := max(now.Sub(d.start), now.Round(0).Sub(d.start.Round(0)))
	return d.after - elapsed
}
