package proxy

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// readTime is how long a connection's reader has to read what came before the connection
// was reset. It is there already.
const readTime = time.Second

// WithEarlyAnswers returns a connection to an upstream on which no answer is lost that
// comes before the request has been sent. An upstream that answers and closes without
// having read all of the body makes writing fail, and [http.Transport] takes that error for
// the outcome if it sees it first. So a write that fails for that says so only after what
// the upstream sent has been read.
func WithEarlyAnswers(conn net.Conn) net.Conn {
	return &earlyAnswers{Conn: conn, read: make(chan struct{})}
}

type earlyAnswers struct {
	net.Conn
	once sync.Once
	read chan struct{} // closed when there is no more to read, or nobody to read it
}

func (c *earlyAnswers) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(c.end)
	}
	return n, err
}

func (c *earlyAnswers) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		timer := time.NewTimer(readTime)
		defer timer.Stop()
		select {
		case <-c.read:
		case <-timer.C:
		}
	}
	return n, err
}

// CloseWrite ends the client's side of a tunnel.
func (c *earlyAnswers) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close lets a write go that waits.
func (c *earlyAnswers) Close() error {
	c.once.Do(c.end)
	return c.Conn.Close()
}

func (c *earlyAnswers) end() { close(c.read) }
