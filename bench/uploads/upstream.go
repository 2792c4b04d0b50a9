package uploads

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// upstream takes bodies whole, and answers when it is told to: first with the headers,
// and with the rest at its end.
type upstream struct {
	address string
	answer  chan struct{} // closed: the headers go
	end     chan struct{} // closed: the rest goes
	bodies  chan int64    // lengths of those read
	first   atomic.Pointer[chan struct{}]
	server  *http.Server
}

func newUpstream(count int) (*upstream, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{address: listener.Addr().String(), answer: make(chan struct{}), end: make(chan struct{}), bodies: make(chan int64, count)}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.CopyN(io.Discard, r.Body, 1)
	if first := u.first.Swap(nil); first != nil {
		close(*first)
	}
	if err == nil {
		var rest int64
		rest, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{r.Body}, make([]byte, 16<<10))
		n += rest
	}
	u.bodies <- n
	<-u.answer
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-u.end
}

// awaitBodies returns when all bodies were read, each of size bytes.
func (u *upstream) awaitBodies(ctx context.Context, failed <-chan error, size int64) error {
	limit := time.After(10 * time.Minute)
	for range cap(u.bodies) {
		select {
		case n := <-u.bodies:
			if n != size {
				return errors.New("a body came in part")
			}
		case err := <-failed:
			return err
		case <-limit:
			return errors.New("not all bodies came within ten minutes")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (u *upstream) close() {
	close(u.end)
	_ = u.server.Close()
}
