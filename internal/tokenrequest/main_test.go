package tokenrequest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	granted       = `{"access_token":"canary-a2","refresh_token":"canary-r2","expires_in":3600}`
	grantedAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n" + `{"access_token":"canary-a2"    }`
)

// soon are limits that a test does not reach.
func soon() tokenrequest.Limits {
	return tokenrequest.Limits{Start: time.Now(), Send: 10 * time.Second, Listen: 20 * time.Second}
}

// direct is a client without a proxy, whatever the environment.
func direct() *tokenrequest.Client {
	return &tokenrequest.Client{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}
}

func parameters(endpoint string) tokenrequest.Parameters {
	return tokenrequest.Parameters{
		URL: endpoint, ClientID: "client", ClientSecret: "canary-secret", AuthStyle: oauth2.AuthStyleInHeader,
	}
}

// refreshRequest spends canary-r1; size makes it larger.
func refreshRequest(t testing.TB, endpoint string, size int) *http.Request {
	t.Helper()
	p := parameters(endpoint)
	if size > 0 {
		p.Params = url.Values{"assertion": {strings.Repeat("a", size)}}
	}
	req, err := tokenrequest.GrantRequest(p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"canary-r1"}})
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// problem returns err as what it has to be.
func problem(t testing.TB, err error) *tokenrequest.Error {
	t.Helper()
	e, ok := errors.AsType[*tokenrequest.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	if strings.Contains(e.Error(), "canary") {
		t.Errorf("the error quotes: %v", e)
	}
	return e
}

// flags tells what an error means for the token.
func flags(e *tokenrequest.Error) string {
	var set []string
	if e.Unspent {
		set = append(set, "unspent")
	}
	if e.NoResponse {
		set = append(set, "no response")
	}
	if e.Permanent {
		set = append(set, "permanent")
	}
	return strings.Join(set, ", ")
}

// want checks an error's reason and meaning.
func want(t *testing.T, r *tokenrequest.Response, err error, reason, meaning string) {
	t.Helper()
	if e := problem(t, err); r != nil || e.Reason != reason || flags(e) != meaning || e.Status != 0 {
		t.Fatalf("got %v, %q (%s), want %q (%s)", r, e.Reason, flags(e), reason, meaning)
	}
}

const notSent, ended, late = "the request was not sent", "connection ended without an answer", "no answer in time"

// peer is the endpoint's end of connections: sockets without a server behind them, so
// that every byte can be seen.
type peer struct {
	t        *testing.T
	listener *net.TCPListener
	tls      *tls.Config // nil: none
	trusted  *tls.Config
	url      string
}

func newPeer(t *testing.T, secure bool) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &peer{t: t, listener: listener.(*net.TCPListener), url: "http://" + listener.Addr().String() + "/token"}
	if secure {
		p.url = strings.Replace(p.url, "http", "https", 1)
		p.tls, p.trusted = certificates()
	}
	return p
}

// certificates returns configurations of a server and of a client that trusts it.
func certificates() (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil) // for its certificate
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
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
		raw, err := p.listener.AcceptTCP()
		if err != nil {
			taken <- accepted{err: err}
			return
		}
		p.t.Cleanup(func() { raw.Close() })
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		if p.tls == nil {
			taken <- accepted{Conn: raw, raw: raw}
			return
		}
		conn := tls.Server(raw, p.tls)
		taken <- accepted{Conn: conn, raw: raw, err: conn.Handshake()}
	}()
	return taken
}

// dial returns a connection, and the endpoint's end of it.
func (p *peer) dial() (tokenrequest.Conn, accepted) {
	p.t.Helper()
	taken := p.accept()
	conn, err := direct().Dial(p.t.Context(), p.url, p.trusted)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(conn.Close)
	other := <-taken
	if other.err != nil {
		p.t.Fatal(other.err)
	}
	return conn, other
}

// answer reads one request and answers it. The returned channel tells how many
// requests there were until the end of the connection.
func answer(t *testing.T, conn net.Conn, text string) <-chan int {
	requests := make(chan int, 1)
	go func() {
		n := 0
		for b := bufio.NewReader(conn); ; n++ {
			req, err := http.ReadRequest(b)
			if err != nil {
				requests <- n
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil || !strings.Contains(string(body), "refresh_token=canary-r1") {
				t.Errorf("the request is %q, %v", body, err)
			}
			io.WriteString(conn, text)
		}
	}()
	return requests
}

// wantNothing reads that nothing comes until the end of the connection.
func wantNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	all, err := io.ReadAll(conn)
	if timeout, ok := errors.AsType[net.Error](err); len(all) != 0 || ok && timeout.Timeout() {
		t.Fatalf("%d bytes came, %v; want the end", len(all), err)
	}
}

// serve runs a real server that answers with handler.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// ask sends a refresh request to an endpoint.
func ask(t *testing.T, endpoint string, config *tls.Config) (*tokenrequest.Response, error) {
	t.Helper()
	return tokenrequest.Do(context.Background(), direct(), refreshRequest(t, endpoint, 0), config, soon())
}
