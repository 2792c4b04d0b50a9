package uploads

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// clients are many uploads at a time, by connections of their own.
type clients struct {
	count   int
	failed  chan error
	headers chan struct{} // one for each response that has begun
	conns   chan net.Conn
}

func startClients(address string, count int, size int64) *clients {
	c := &clients{count: count, failed: make(chan error, count), headers: make(chan struct{}, count), conns: make(chan net.Conn, count)}
	piece := make([]byte, 64<<10)
	for range count {
		go func() {
			if err := c.upload(address, size, piece); err != nil {
				c.failed <- err
			}
		}()
	}
	return c
}

// upload sends one body, and reads the head of the answer.
func (c *clients) upload(address string, size int64, piece []byte) error {
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	c.conns <- conn
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: acme\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		return err
	}
	for left := size; left > 0; {
		n, err := conn.Write(piece[:min(left, int64(len(piece)))])
		if err != nil {
			return fmt.Errorf("sending a body: %w", err)
		}
		left -= int64(n)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	c.headers <- struct{}{}
	return nil
}

// awaitHeaders returns when all responses have begun.
func (c *clients) awaitHeaders(ctx context.Context) error {
	for range c.count {
		select {
		case <-c.headers:
		case err := <-c.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *clients) close() {
	for len(c.conns) > 0 {
		_ = (<-c.conns).Close()
	}
}
