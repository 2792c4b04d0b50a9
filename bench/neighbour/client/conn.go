package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"time"
)

// conn is one connection, made anew when it has ended. It costs little, so that as much as
// can be of the processor that it shares is left to others.
type conn struct {
	address string
	net     net.Conn
	reader  *bufio.Reader
	body    bytes.Buffer // of the last answer
}

// do makes a request and returns the status of its answer, 0 if the connection ended.
func (c *conn) do(request []byte) int {
	status, err := c.try(request)
	if err != nil {
		c.close()
	}
	return status
}

func (c *conn) try(request []byte) (int, error) {
	if c.net == nil {
		var err error
		if c.net, err = net.DialTimeout("tcp", c.address, 10*time.Second); err != nil { //nolint:noctx // it has a deadline
			return 0, err
		}
		c.reader = bufio.NewReaderSize(c.net, 4<<10)
	}
	if err := c.net.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	_, sendErr := c.net.Write(request) // The answer may come before all is sent.
	res, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, err
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(res.Body)
	if res.Close || sendErr != nil {
		err = io.EOF
	}
	return res.StatusCode, err
}

func (c *conn) close() {
	if c.net != nil {
		_ = c.net.Close()
		c.net = nil
	}
}
