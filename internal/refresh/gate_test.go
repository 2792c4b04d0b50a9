package refresh

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// peer is the other end of a token request: a socket without a server behind it,
// so that every byte can be seen.
type peer struct {
	t        *testing.T
	listener net.Listener
	url      string
	tls      *tls.Config // nil: none
}

func newPeer(t *testing.T, config *tls.Config) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &peer{t: t, listener: listener, tls: config, url: "http://" + listener.Addr().String()}
	if config != nil {
		p.url = "https://" + listener.Addr().String()
	}
	return p
}

// accepted is a connection with its handshake done.
type accepted struct {
	net.Conn
	raw *net.TCPConn
	err error
}

// accept takes one connection, while the caller connects.
func (p *peer) accept() <-chan accepted {
	taken := make(chan accepted, 1)
	go func() {
		conn, err := p.listener.Accept()
		if err != nil {
			taken <- accepted{err: err}
			return
		}
		raw, _ := conn.(*net.TCPConn)
		p.t.Cleanup(func() { raw.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if p.tls == nil {
			taken <- accepted{Conn: conn, raw: raw}
			return
		}
		secure := tls.Server(conn, p.tls)
		taken <- accepted{Conn: secure, raw: raw, err: secure.Handshake()}
	}()
	return taken
}

// connect returns a token request that is held back, and the peer's end of it.
func (p *peer) connect(change func(*scheme.OAuth2)) (*request, accepted) {
	p.t.Helper()
	taken := p.accept()
	r, trouble := (&endpoint{}).connect(p.oauth2(change), "client", clientSecret, "canary-r1")
	if trouble != nil {
		p.t.Fatal(trouble)
	}
	p.t.Cleanup(r.abandon)
	conn := <-taken
	if conn.err != nil {
		p.t.Fatal(conn.err)
	}
	return r, conn
}

func (p *peer) oauth2(change func(*scheme.OAuth2)) *scheme.OAuth2 {
	p.t.Helper()
	o := &scheme.OAuth2{TokenURL: p.url, ClientID: text(p.t, "client"), ClientSecret: text(p.t, clientSecret)}
	if change != nil {
		change(o)
	}
	s, err := scheme.New(scheme.Options{OAuth2: o})
	if err != nil {
		p.t.Fatal(err)
	}
	return s.OAuth2()
}

// wantNothing reads for a while that nothing comes.
func wantNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	n, err := conn.Read(make([]byte, 100))
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%d bytes came, %v; want none", n, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
}

// wantEnd reads that the connection ends without a byte.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	all, err := io.ReadAll(conn)
	var timeout net.Error
	if len(all) != 0 || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%d bytes came, %v; want the end", len(all), err)
	}
}

// serve answers one request and returns how many there were until the end of the
// connection.
func serve(t *testing.T, conn net.Conn, answer string) int {
	t.Helper()
	requests := 0
	for b := bufio.NewReader(conn); ; requests++ {
		req, err := http.ReadRequest(b)
		if err != nil {
			return requests
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || !strings.Contains(string(body), "refresh_token=canary-r1") {
			t.Errorf("body %s, %v", body, err)
		}
		io.WriteString(conn, answer)
	}
}

const grantedOnTheWire = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 32\r\n\r\n" + `{"access_token":"canary-a2"    }`

func inTime() deadline { return deadline{start: time.Now(), after: spendDeadline} }

func wantUnspent(t *testing.T, got *answer, trouble *problem) {
	t.Helper()
	if got != nil || trouble == nil || !trouble.unspent || trouble.silent || trouble.permanent {
		t.Fatalf("got %+v, %+v; want a request that was not sent", got, trouble)
	}
}

func wantSilence(t *testing.T, got *answer, trouble *problem) {
	t.Helper()
	if got != nil || trouble == nil || trouble.unspent || !trouble.silent || trouble.permanent {
		t.Fatalf("got %+v, %+v; want a request without an answer", got, trouble)
	}
}

func TestTheGateOverTCP(t *testing.T) { testGate(t, nil) }

// TestTheGateOverTLS runs in a process of its own, whose trusted certificates and
// proxy are not those of the other tests.
func TestTheGateOverTLS(t *testing.T) {
	inOwnProcess(t, func(t *testing.T) {
		server := httptest.NewTLSServer(nil) // for its certificate
		config := &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}
		trust(t, server.Certificate().Raw)
		server.Close()
		proxy := newPeer(t, nil)
		t.Setenv("HTTPS_PROXY", proxy.url) // loopback hosts are asked directly all the same
		t.Run("TLS 1.3", func(t *testing.T) { testGate(t, config) })
		t.Run("TLS 1.2", func(t *testing.T) {
			older := config.Clone()
			older.MaxVersion = tls.VersionTLS12
			testGate(t, older)
		})
		t.Run("through a proxy", func(t *testing.T) { testProxy(t, proxy, config) })
	})
}

// testGate holds the rules of the gate against sockets.
func testGate(t *testing.T, config *tls.Config) {
	t.Run("nothing is sent before send, then one request", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		wantNothing(t, conn)
		requests := make(chan int, 1)
		go func() { requests <- serve(t, conn, grantedOnTheWire) }()
		got, trouble := r.send(inTime())
		if trouble != nil || got.status != 200 || !strings.Contains(string(got.body), "canary-a2") || got.cut {
			t.Fatalf("got %+v, %+v", got, trouble)
		}
		r.abandon()
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("a large request passes whole", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(func(o *scheme.OAuth2) {
			o.Params = map[string]string{"assertion": strings.Repeat("a", 1<<20)}
		})
		wantNothing(t, conn)
		go serve(t, conn, grantedOnTheWire)
		if got, trouble := r.send(inTime()); trouble != nil || got.status != 200 {
			t.Fatalf("got %+v, %+v", got, trouble)
		}
	})
	t.Run("a deadline that has passed", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		got, trouble := r.send(deadline{start: time.Now().Add(-spendDeadline), after: spendDeadline})
		wantUnspent(t, got, trouble)
		wantEnd(t, conn)
	})
	t.Run("a deadline that has passed by the wall clock alone", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		got, trouble := r.send(deadline{start: wallEarlier(t, time.Now(), spendDeadline), after: spendDeadline})
		wantUnspent(t, got, trouble)
		wantEnd(t, conn)
	})
	t.Run("abandoned", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		r.abandon()
		r.abandon()
		wantEnd(t, conn)
	})
	t.Run("reset before the request", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		_ = conn.raw.SetLinger(0)
		conn.raw.Close()
		got, trouble := r.send(inTime())
		wantUnspent(t, got, trouble)
	})
	t.Run("reset after the request", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			_ = conn.raw.SetLinger(0)
			conn.raw.Close()
		}()
		got, trouble := r.send(inTime())
		wantSilence(t, got, trouble)
	})
	t.Run("closed after the request", func(t *testing.T) {
		p := newPeer(t, config)
		r, conn := p.connect(nil)
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			conn.Close()
		}()
		got, trouble := r.send(inTime())
		wantSilence(t, got, trouble)
		// Nor does it come again on another connection.
		listener, _ := p.listener.(*net.TCPListener)
		_ = listener.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if again, err := listener.Accept(); err == nil {
			again.Close()
			t.Error("a second connection")
		}
	})
	t.Run("closed after the first bytes of the request", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(func(o *scheme.OAuth2) {
			o.Params = map[string]string{"assertion": strings.Repeat("a", 8<<20)}
		})
		go func() {
			_, _ = io.ReadFull(conn, make([]byte, 10))
			_ = conn.raw.SetLinger(0)
			conn.raw.Close()
		}()
		got, trouble := r.send(inTime())
		wantSilence(t, got, trouble)
	})
	t.Run("no answer until the deadline", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		requests := make(chan int, 1)
		go func() { requests <- serve(t, conn, "") }()
		start := time.Now()
		got, trouble := r.send(deadline{start: start, after: 300 * time.Millisecond})
		wantSilence(t, got, trouble)
		if trouble.reason != "no answer in time" || time.Since(start) < 300*time.Millisecond {
			t.Errorf("%v after %v", trouble, time.Since(start))
		}
		if n := <-requests; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("an answer before there was a request", func(t *testing.T) {
		r, conn := newPeer(t, config).connect(nil)
		io.WriteString(conn, grantedOnTheWire)
		requests := make(chan int, 1)
		go func() { requests <- serve(t, conn, "") }()
		got, trouble := r.send(inTime())
		r.abandon()
		// Whether it is taken for the answer depends on who is faster.
		switch n := <-requests; {
		case n > 1:
			t.Errorf("%d requests", n)
		case got == nil && (trouble.permanent || n == 1 && trouble.unspent):
			t.Errorf("%d requests, %+v", n, trouble)
		}
	})
}

// testProxy holds the rules of the gate behind an HTTP proxy that is asked for a
// tunnel.
func testProxy(t *testing.T, p *peer, config *tls.Config) {
	p.t, p.tls, p.url = t, config, "https://example.com/token" // the name in the certificate
	proxied := func() (*request, accepted) {
		taken := make(chan accepted, 1)
		go func() {
			conn, err := p.listener.Accept()
			if err != nil {
				taken <- accepted{err: err}
				return
			}
			t.Cleanup(func() { conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil || req.Method != "CONNECT" || req.Host != "example.com:443" {
				t.Errorf("the proxy was asked %+v, %v", req, err)
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			secure := tls.Server(conn, config)
			raw, _ := conn.(*net.TCPConn)
			taken <- accepted{Conn: secure, raw: raw, err: secure.Handshake()}
		}()
		r, trouble := (&endpoint{}).connect(p.oauth2(nil), "client", clientSecret, "canary-r1")
		if trouble != nil {
			t.Fatal(trouble)
		}
		t.Cleanup(r.abandon)
		conn := <-taken
		if conn.err != nil {
			t.Fatal(conn.err)
		}
		return r, conn
	}

	r, conn := proxied()
	wantNothing(t, conn)
	requests := make(chan int, 1)
	go func() { requests <- serve(t, conn, grantedOnTheWire) }()
	if got, trouble := r.send(inTime()); trouble != nil || got.status != 200 {
		t.Fatalf("got %+v, %+v", got, trouble)
	}
	r.abandon()
	if n := <-requests; n != 1 {
		t.Errorf("%d requests", n)
	}

	r, conn = proxied()
	got, trouble := r.send(deadline{start: time.Now().Add(-time.Hour), after: spendDeadline})
	wantUnspent(t, got, trouble)
	wantEnd(t, conn)
}

func TestAHandshakeThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	p.url = strings.Replace(p.url, "http:", "https:", 1)
	taken := p.accept()
	start := time.Now()
	r, trouble := (&endpoint{}).connect(p.oauth2(nil), "client", clientSecret, "canary-r1")
	if r != nil || trouble == nil || !trouble.unspent || !trouble.silent || trouble.reason != "cannot connect in time" {
		t.Fatalf("got %v, %+v", r, trouble)
	}
	if took := time.Since(start); took < connectTimeout || took > connectTimeout+5*time.Second {
		t.Errorf("took %v", took)
	}
	conn := <-taken
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	hello, err := io.ReadAll(conn)
	if strings.Contains(string(hello), "canary") {
		t.Error("the request was sent")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection stays open: net/http goes on connecting for whoever comes next")
	}
}

func TestNobodyListens(t *testing.T) {
	p := newPeer(t, nil)
	p.listener.Close()
	r, trouble := (&endpoint{}).connect(p.oauth2(nil), "client", clientSecret, "canary-r1")
	if r != nil || trouble == nil || !trouble.unspent || trouble.reason != "cannot connect" {
		t.Fatalf("got %v, %+v", r, trouble)
	}
}
