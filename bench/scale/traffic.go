package scale

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// upstream answers all requests.
type upstream struct {
	address string
	server  *fasthttp.Server
}

func newUpstream() (*upstream, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{address: listener.Addr().String(), server: &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) close() { _ = u.server.Shutdown() }

// get makes a request for each of tenants, so many at a time, each time by the same
// connections, and returns how long each answer took.
func get(address string, tenants []string, atATime int) ([]time.Duration, error) {
	times := make([]time.Duration, len(tenants))
	errs := make(chan error, atATime)
	var workers sync.WaitGroup
	for worker := range atATime {
		workers.Go(func() {
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
			if err != nil {
				errs <- err
				return
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			for i := worker; i < len(tenants); i += atATime {
				begun := time.Now()
				if err := request(conn, reader, tenants[i]); err != nil {
					errs <- err
					return
				}
				times[i] = time.Since(begun)
			}
		})
	}
	workers.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
		return times, nil
	}
}

func request(conn net.Conn, reader *bufio.Reader, tenant string) error {
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: %s\r\n\r\n", tenant); err != nil {
		return err
	}
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s", res.Status, res.Header.Get("Upstream-Auth-Error"))
	}
	return nil
}
