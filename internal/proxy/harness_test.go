package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// coordinator answers with the credential of the next token, and counts.
type coordinator struct {
	refresh  func(ctx context.Context, rejected *credential.Credential) (*credential.Credential, error)
	calls    atomic.Int32
	rejected atomic.Int32
	accepted atomic.Int32
}

func (c *coordinator) Refresh(ctx context.Context, _ *renew.Provider, _ credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	c.calls.Add(1)
	return c.refresh(ctx, rejected)
}

func (c *coordinator) Ahead(*renew.Provider, credential.Tenant, *credential.Credential) {}

func (c *coordinator) Rejected(*renew.Provider, credential.Tenant, *credential.Credential) {
	c.rejected.Add(1)
}

func (c *coordinator) Accepted(*renew.Provider, credential.Tenant, *credential.Credential) {
	c.accepted.Add(1)
}

func (c *coordinator) expect(t *testing.T, calls, rejected, accepted int32) {
	t.Helper()
	if c.calls.Load() != calls || c.rejected.Load() != rejected || c.accepted.Load() != accepted {
		t.Errorf("%d refreshes, %d rejected, %d accepted; want %d, %d, %d",
			c.calls.Load(), c.rejected.Load(), c.accepted.Load(), calls, rejected, accepted)
	}
}

func mustCredential(t testing.TB, token string) *credential.Credential {
	t.Helper()
	c, err := credential.New(credential.Document{Data: fmt.Appendf(nil, `{"access_token":%q}`, token), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var quiet = slog.New(slog.DiscardHandler)

// headerScheme sends the access token in a header field.
type headerScheme struct{ name, prefix string }

var bearerScheme = &headerScheme{"Authorization", "Bearer "}

func (s *headerScheme) Names() scheme.Names { return scheme.Names{Header: []string{s.name}} }

func (s *headerScheme) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := c.Text("access_token")
	if err != nil {
		return nil, err
	}
	return &field{http.CanonicalHeaderKey(s.name), s.prefix + token}, nil
}

// SetsHeaderAlone says that requests' URLs stay as they are.
func (s *headerScheme) SetsHeaderAlone() {}

type field struct{ name, value string }

func (f *field) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header[f.name] = []string{f.value}
	return nil
}

// queryScheme sends the access token in a parameter of the query.
type queryScheme struct{ name string }

func (s *queryScheme) Names() scheme.Names { return scheme.Names{Query: []string{s.name}} }

func (s *queryScheme) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := c.Text("access_token")
	if err != nil {
		return nil, err
	}
	p := parameter(url.QueryEscape(s.name) + "=" + url.QueryEscape(token))
	return &p, nil
}

type parameter string

func (p *parameter) Authenticate(req *http.Request, _ scheme.Body) error {
	if req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += string(*p)
	return nil
}

// schemeFunc is a scheme that a test writes: what it makes of an access token.
type schemeFunc struct {
	names scheme.Names
	bind  func(token string) scheme.Authenticator
}

func (s *schemeFunc) Names() scheme.Names { return s.names }

func (s *schemeFunc) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := c.Text("access_token")
	if err != nil {
		return nil, err
	}
	return s.bind(token), nil
}

// authenticatorFunc is an authenticator that a test writes.
type authenticatorFunc func(req *http.Request, body scheme.Body) error

func (f authenticatorFunc) Authenticate(req *http.Request, body scheme.Body) error {
	return f(req, body)
}

func newProvider(t testing.TB, schemes ...scheme.Scheme) *upstream.Provider {
	t.Helper()
	p, err := upstream.New(upstream.Provider{Provider: renew.NewProvider("test", nil, ""), Schemes: schemes})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newExchange returns one whose credential is the token "old" and whose renewal gives
// the token "new". Its schemes are a bearer token's unless others are given.
func newExchange(t testing.TB, schemes ...scheme.Scheme) (*Exchange, *coordinator) {
	t.Helper()
	c := &coordinator{refresh: func(context.Context, *credential.Credential) (*credential.Credential, error) {
		return mustCredential(t, "new"), nil
	}}
	if len(schemes) == 0 {
		schemes = []scheme.Scheme{bearerScheme}
	}
	x := &Exchange{
		Tenant: "acme",
		Settings: &Settings{
			Provider:    newProvider(t, schemes...),
			Credentials: &upstream.Credentials{Coordinator: c},
			Limits:      body.Limits{MaxBody: 1 << 20, Memory: 64 << 10, Dir: t.TempDir()},
			Logger:      quiet,
		},
	}
	x.authenticate(t, mustCredential(t, "old"))
	t.Cleanup(x.Close)
	return x, c
}

func (x *Exchange) authenticate(t testing.TB, c *credential.Credential) {
	t.Helper()
	ready, err := x.Provider.Ready(c)
	if err != nil {
		t.Fatal(err)
	}
	x.Opened = upstream.Opened{Ready: ready, Credential: c}
}

type exchangeKey struct{}

// NewContext returns a context with which requests are made for x.
func NewContext(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// RoundTrip is Send for the exchange in the context of req, if there is one.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, _ := req.Context().Value(exchangeKey{}).(*Exchange)
	return t.Send(req, x)
}

func newRequest(t testing.TB, x *Exchange, method, url string, body io.Reader) *http.Request {
	t.Helper()
	ctx := t.Context()
	if x != nil {
		ctx = NewContext(ctx, x)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil // A server's request has none.
	return req
}

// unsized hides the length of a body.
type unsized struct{ io.Reader }

// upstreamServer is a server and the way to it.
type upstreamServer struct {
	*httptest.Server
	*Transport
	conns atomic.Int32 // made to it so far
}

// protocols are the ways in which an upstream is spoken to.
var protocols = []string{"h1", "h2", "h2c"}

// eachProtocol runs test in each of the protocols.
func eachProtocol(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { test(t, protocol) })
	}
}

func newUpstream(t testing.TB, protocol string, handler http.HandlerFunc) *upstreamServer {
	t.Helper()
	u := &upstreamServer{Server: httptest.NewUnstartedServer(nil)}
	u.Config.Handler = handler
	u.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			u.conns.Add(1)
		}
	}
	transport := &http.Transport{Protocols: new(http.Protocols), ExpectContinueTimeout: 10 * time.Second}
	switch protocol {
	case "h1":
		transport.Protocols.SetHTTP1(true)
		u.Start()
	case "h2":
		transport.Protocols.SetHTTP2(true)
		u.EnableHTTP2 = true
		u.StartTLS()
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AddCert(u.Certificate())
	case "h2c":
		transport.Protocols.SetUnencryptedHTTP2(true)
		u.Config.Protocols = new(http.Protocols)
		u.Config.Protocols.SetUnencryptedHTTP2(true)
		u.Start()
	}
	u.Transport = &Transport{Base: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		u.Close()
	})
	return u
}

// roundTrip makes a request for x and fails the test on an error.
func (u *upstreamServer) roundTrip(t testing.TB, req *http.Request) *http.Response {
	t.Helper()
	res, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// expectAnswer reads res to its end.
func expectAnswer(t testing.TB, res *http.Response, status int, body string) {
	t.Helper()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || string(got) != body {
		t.Fatalf("%d with %d bytes %.40q; want %d with %d bytes %.40q", res.StatusCode, len(got), got, status, len(body), body)
	}
}

// onlyNew is an upstream that refuses every token but "new" with a 401, and answers
// the others with what it was sent.
func onlyNew(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer new" {
		w.Header().Set("Www-Authenticate", `Bearer error="invalid_token"`)
		http.Error(w, "refused", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// refuseEarly answers 401 to a request whose body may not have come yet. An HTTP/1
// server of net/http would read the body first, or in full duplex trip over it.
func refuseEarly(t testing.TB, w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 {
		http.Error(w, "refused", http.StatusUnauthorized)
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 7\r\n\r\nrefused")
	go func() { // Until the other side hangs up.
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}()
}
