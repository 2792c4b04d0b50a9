package tokenrequest

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// maxBody bounds an answer in bytes, decompressed.
	maxBody = 512 << 10

	// lastRead is how long a process that was stopped past its deadline has to read
	// the answer that came meanwhile.
	lastRead = time.Second
)

// conn is the [Conn] of a [Client].
type conn struct {
	client       *http.ClientConn
	gate         *gate
	used, closed atomic.Bool
}

// Close implements [Conn].
func (c *conn) Close() {
	c.closed.Store(true)
	c.gate.close()
	_ = c.client.Close()
}

// Send implements [Conn].
func (c *conn) Send(ctx context.Context, req *http.Request, limits Limits) (*Response, error) {
	if c.used.Swap(true) {
		return nil, &Error{Reason: "a token request is sent once"}
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	done := make(chan struct{})
	defer close(done)
	timer := time.AfterFunc(limits.left(limits.Listen), func() {
		// A process that was stopped wakes up to its deadline and its answer at once.
		if -limits.left(limits.Listen) > lastRead/4 {
			select {
			case <-done:
			case <-time.After(lastRead):
			}
		}
		cancel()
	})
	defer timer.Stop()

	once := req.Clone(ctx)
	once.GetBody = nil // so that net/http cannot send it again
	at := time.Now()
	c.gate.open(limits)
	answer, err := c.client.RoundTrip(once)
	if err != nil {
		sent := c.gate.close()
		return nil, noAnswer(err, sent, !limits.MaySend() || c.closed.Load())
	}
	defer answer.Body.Close()
	return newResponse(req, answer, at), nil
}

// newResponse reads an answer.
func newResponse(req *http.Request, answer *http.Response, at time.Time) *Response {
	r := (&Response{Status: answer.StatusCode, Header: answer.Header, At: at}).AnswerTo(req)
	if answer.StatusCode < 200 { // 101: what follows is no body
		r.Truncated = true
		return r
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	r.Body = body[:min(len(body), maxBody)]
	r.Truncated = err != nil || len(body) > maxBody
	return r
}
