package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/internal/authorize"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// connection is one that a client believes to be to a claimed host.
type connection struct {
	net.Conn // the client's, TLS not yet terminated
	forward  *Forward
	server   *caddyhttp.Server // which serves it, and what else it serves
	claim    *claim
	target   target
	user     user

	close   sync.Once
	closed  chan struct{}
	writing sync.RWMutex
}

// Write writes to the client, until the connection is closed.
func (c *connection) Write(p []byte) (int, error) {
	c.writing.RLock()
	defer c.writing.RUnlock()
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(p)
	}
}

// Close closes the connection, and says so.
func (c *connection) Close() (err error) {
	c.close.Do(func() {
		close(c.closed)
		_ = c.SetWriteDeadline(time.Unix(1, 0)) // a stream's writes do not end otherwise
		err = c.Conn.Close()
	})
	return err
}

// wait waits until the connection is closed, and nobody uses it any more: the server that it
// came to counts what is written.
func (c *connection) wait() {
	<-c.closed
	c.writing.Lock()
	defer c.writing.Unlock()
}

type connectionKey struct{}

// connectionOf returns the claimed connection that a request came by.
func connectionOf(ctx context.Context) (*connection, bool) {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	return c, ok
}

// serverOf returns the server that a request came to.
func serverOf(r *http.Request) *caddyhttp.Server {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

// serve serves a request that came by a claimed connection.
func (c *connection) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !c.target.names(r.Host, portHTTPS) || r.URL.Host != "" && !c.target.names(r.URL.Host, portHTTPS) {
		return refuse(w, r, http.StatusMisdirectedRequest, proxy.CodeMisdirected, errors.New("the request names another host than the connection is for"))
	}
	return c.forward.serveClaimed(w, r, next, c.claim, c.target, true, c.user)
}

// serveClaimed has a request to a claimed host authenticated and sent on.
func (f *Forward) serveClaimed(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, c *claim, to target, encrypted bool, u user) error {
	r.URL.Scheme, r.URL.Host = "", "" // as a server gets it
	u.put(r)
	replacerOf(r).Set(addressPlaceholder, to.String())
	handler := c.plain
	if encrypted {
		handler = c.encrypted
	}
	return handler.ServeHTTP(w, r, next)
}

// interceptor terminates TLS in claimed connections, and has the server that they came to
// serve what is inside.
type interceptor struct {
	forward  *Forward
	start    sync.Once
	server   *http.Server
	accepted chan net.Conn
	ended    context.Context
	end      context.CancelFunc
}

func newInterceptor(f *Forward) *interceptor {
	i := &interceptor{forward: f, accepted: make(chan net.Conn)}
	i.ended, i.end = context.WithCancel(context.Background())
	return i
}

// serve serves a connection; false: there is no serving any more.
func (i *interceptor) serve(c *connection) bool {
	i.start.Do(func() { i.run(c.server) })
	select {
	case i.accepted <- c:
		return true
	case <-i.ended.Done():
		return false
	}
}

// run serves connections until [interceptor.shutdown], with the limits of the server that
// they come to.
func (i *interceptor) run(like *caddyhttp.Server) {
	i.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _ := connectionOf(r.Context())
			c.server.ServeHTTP(w, r)
		}),
		TLSConfig: &tls.Config{GetCertificate: i.certificate, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			c := conn.(*tls.Conn).NetConn().(*connection)
			return authorize.WithPeer(context.WithValue(ctx, connectionKey{}, c), c.Conn)
		},
		ReadTimeout:       time.Duration(like.ReadTimeout),
		ReadHeaderTimeout: time.Duration(like.ReadHeaderTimeout),
		WriteTimeout:      time.Duration(like.WriteTimeout),
		IdleTimeout:       time.Duration(like.IdleTimeout),
		MaxHeaderBytes:    like.MaxHeaderBytes,
		ErrorLog:          log.New(&handshakeErrors{i.forward.logger}, "", 0),
	}
	go func() { _ = i.server.ServeTLS(i, "", "") }()
}

// certificate returns the one that a claimed connection's client expects, and no other.
func (i *interceptor) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, ok := hello.Conn.(*connection)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T", hello.Conn)
	}
	if hello.ServerName != "" && !c.target.names(hello.ServerName, c.target.port) {
		return nil, errors.New("the TLS server name is another host's than CONNECT named")
	}
	return i.forward.authority.certificate(c.target.host)
}

// shutdown ends idle connections, and the others when their requests are over.
func (i *interceptor) shutdown() {
	i.end()
	i.start.Do(func() {}) // from here on it does not start
	if i.server != nil {
		go func() { _ = i.server.Shutdown(context.Background()) }()
	}
}

// Accept implements [net.Listener].
func (i *interceptor) Accept() (net.Conn, error) {
	select {
	case c := <-i.accepted:
		return c, nil
	case <-i.ended.Done():
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (i *interceptor) Close() error {
	i.end()
	return nil
}

// Addr implements [net.Listener].
func (i *interceptor) Addr() net.Addr { return new(net.TCPAddr) }

// handshakeErrors takes what net/http logs: clients that do not trust the authority.
type handshakeErrors struct{ logger *slog.Logger }

func (l *handshakeErrors) Write(line []byte) (int, error) {
	l.logger.Debug("serving a claimed connection", "error", string(line))
	return len(line), nil
}
