package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// connect serves CONNECT. Whatever can be refused is, before the answer is 200.
func (f *Forward) connect(w http.ResponseWriter, r *http.Request) error {
	host, port, ok := hosts.Split(r.Host)
	if !ok || port == 0 {
		return refuse(w, r, http.StatusBadRequest, proxy.CodeNoProxyRequest, errors.New("CONNECT needs a host and a port"))
	}
	u, err := f.who.user(r)
	if err != nil {
		return refuseUser(w, r, err)
	}
	to := target{host: host, port: port}
	c := f.claimOf(host, port)
	if c == nil && !f.tunnels.Claims(host, port) {
		return refuse(w, r, http.StatusForbidden, proxy.CodeHostNotAllowed, fmt.Errorf("neither a provider nor a tunnel is for port %d of the host", port))
	}
	admits := c
	if c == nil {
		admits = f.claims[0]
	}
	if err := f.admit(r, admits, u); err != nil {
		return refuseUser(w, r, err)
	}
	if c == nil {
		return f.tunnel(w, r, to)
	}
	if err := f.lookUp(r.Context(), to); err != nil {
		return f.unreachable(w, r, err)
	}
	client, err := takeOver(w, r)
	if err != nil {
		return err
	}
	in := &connection{Conn: client, forward: f, server: serverOf(r), claim: c, target: to, user: u, closed: make(chan struct{})}
	if !f.inner.serve(in) {
		return client.Close()
	}
	in.wait() // HTTP/2 ends the stream when this returns
	return nil
}

// lookUp refuses a claimed host that resolves to addresses that are not public, so that the
// answer to CONNECT says so. Whether it is public then is looked at again, when it is connected to.
func (f *Forward) lookUp(ctx context.Context, to target) error {
	if f.Private {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addresses, err := f.dialer.Resolver.LookupNetIP(ctx, "ip", to.host)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if hosts.IsPublic(address) {
			return nil
		}
	}
	return hosts.ErrNotPublic
}

// unreachable answers a request whose target cannot be connected to, or may not be.
func (f *Forward) unreachable(w http.ResponseWriter, r *http.Request, err error) error {
	if errors.Is(err, hosts.ErrNotPublic) {
		return refuse(w, r, http.StatusForbidden, proxy.CodeHostNotAllowed, hosts.ErrNotPublic)
	}
	return caddyhttp.Error(http.StatusBadGateway, err)
}

// tunnel passes bytes on, without looking at them.
func (f *Forward) tunnel(w http.ResponseWriter, r *http.Request, to target) error {
	// A client that has said all it has to say has not gone away.
	upstream, err := f.dialer.DialContext(context.WithoutCancel(r.Context()), "tcp", to.String())
	if err != nil {
		return f.unreachable(w, r, err)
	}
	defer upstream.Close()
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && at.String() == upstream.RemoteAddr().String() {
		return refuse(w, r, http.StatusForbidden, proxy.CodeHostNotAllowed, errors.New("the tunnel would lead here"))
	}
	client, err := takeOver(w, r)
	if err != nil {
		return err
	}
	defer client.Close()
	stop := context.AfterFunc(f.ctx, func() { // the configuration is over
		client.Close()
		upstream.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pass(upstream, client) })
	both.Go(func() { pass(client, upstream) })
	both.Wait()
	return nil
}

// pass copies until from ends, and tells to; if that cannot be told by itself, or was for an
// error, both end.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}

// servePlain sends a request on that is not claimed, as it is.
func (f *Forward) servePlain(w http.ResponseWriter, r *http.Request) error {
	var failed error
	onward := httputil.ReverseProxy{
		Rewrite:       func(*httputil.ProxyRequest) {},
		Transport:     f.plain,
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		FlushInterval: -1,
	}
	onward.ServeHTTP(w, r)
	if failed != nil {
		return f.unreachable(w, r, failed)
	}
	return nil
}

// takeOver answers 200 to CONNECT and returns the client's end of the tunnel.
func takeOver(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	controller := http.NewResponseController(w)
	if r.ProtoMajor >= 2 {
		w.WriteHeader(http.StatusOK)
		if err := controller.Flush(); err != nil {
			return nil, err
		}
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return &stream{ReadCloser: r.Body, w: w, controller: controller, local: local, remote: r.RemoteAddr}, nil
	}
	conn, buffered, err := controller.Hijack()
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return nil, err
	}
	if buffered.Reader.Buffered() == 0 {
		return conn, nil
	}
	return &bufferedConn{conn, buffered.Reader}, nil
}

// bufferedConn is a connection of which the beginning was read already.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// NetConn returns the connection, which tells who is at its other end.
func (c *bufferedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite implements what [net.TCPConn] has.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// stream is a tunnel over one stream of HTTP/2 or HTTP/3.
type stream struct {
	io.ReadCloser
	w          http.ResponseWriter
	controller *http.ResponseController
	local      net.Addr
	remote     string
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil {
		err = s.controller.Flush()
	}
	return n, err
}

func (s *stream) LocalAddr() net.Addr { return s.local }

func (s *stream) RemoteAddr() net.Addr {
	host, port, _ := net.SplitHostPort(s.remote)
	number, _ := strconv.Atoi(port)
	return &net.TCPAddr{IP: net.ParseIP(host), Port: number}
}

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}
func (s *stream) SetReadDeadline(t time.Time) error  { return s.controller.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.controller.SetWriteDeadline(t) }
