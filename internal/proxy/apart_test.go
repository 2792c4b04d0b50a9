package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// certificateScheme authenticates connections by a certificate in the access token's name.
type certificateScheme struct {
	t     testing.TB
	key   *ecdsa.PrivateKey
	asked atomic.Int32
}

func newCertificateScheme(t testing.TB) *certificateScheme {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &certificateScheme{t: t, key: key}
}

func (s *certificateScheme) Names() scheme.Names { return scheme.Names{} }

func (s *certificateScheme) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := c.Text("access_token")
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: token}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		s.t.Error(err)
	}
	return certificateAuthenticator{s, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.key}}, nil
}

// certificateAuthenticator is of a type that cannot be compared, as a scheme's may be.
type certificateAuthenticator struct {
	scheme      *certificateScheme
	certificate tls.Certificate
}

func (a certificateAuthenticator) Authenticate(*http.Request, scheme.Body) error { return nil }

func (a certificateAuthenticator) TLSConfig(base *tls.Config) *tls.Config {
	a.scheme.asked.Add(1)
	base.Certificates = append(base.Certificates, a.certificate)
	return base
}

// certificateServer asks for certificates, and answers with whose it was.
type certificateServer struct {
	*httptest.Server
	*Transport
	closed chan string // addresses of connections that ended
}

func newCertificateServer(t testing.TB, h2 bool, handler http.HandlerFunc) *certificateServer {
	t.Helper()
	u := &certificateServer{Server: httptest.NewUnstartedServer(handler), closed: make(chan string, 1000)}
	u.EnableHTTP2 = h2
	u.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	u.Config.ErrorLog = log.New(io.Discard, "", 0) // Of connections that are dialled and not needed.
	u.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			u.closed <- conn.RemoteAddr().String()
		}
	}
	u.StartTLS()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(u.Certificate())
	base := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	u.Transport = &Transport{
		Base: roundTripperFunc(func(*http.Request) (*http.Response, error) {
			t.Error("it was sent on a connection of everybody's")
			return nil, errBroken
		}),
		Apart: func(configure func(*tls.Config) *tls.Config) (ApartTransport, error) {
			own := base.Clone()
			own.TLSClientConfig = configure(own.TLSClientConfig)
			return own, nil
		},
	}
	t.Cleanup(func() {
		u.CloseIdleConnections()
		u.Close()
	})
	return u
}

// sayWho answers with whose connection it is, and which. There is no body, so that the
// connection is free again once the answer is there.
func sayWho(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Who", r.TLS.PeerCertificates[0].Subject.CommonName)
	w.Header().Set("X-Connection", r.RemoteAddr)
	w.WriteHeader(http.StatusNoContent)
}

// expectSent makes a request for x and returns the address of its connection, which has to
// be that of a certificate.
func (u *certificateServer) expectSent(t testing.TB, x *Exchange, who string) (connection string) {
	t.Helper()
	res, err := u.Send(newRequest(t, nil, "GET", u.URL, nil), x)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 204 || res.Header.Get("X-Who") != who {
		t.Fatalf("%d for %q; want %q", res.StatusCode, res.Header.Get("X-Who"), who)
	}
	return res.Header.Get("X-Connection")
}

// expectClosed waits for the end of a connection.
func (u *certificateServer) expectClosed(t testing.TB, connection string) {
	t.Helper()
	if got := <-u.closed; got != connection {
		t.Errorf("%s was closed, and not %s", got, connection)
	}
}

func TestTenantsNeverShareAConnection(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2 %v", h2), func(t *testing.T) {
			const tenants, each = 5, 8
			u := newCertificateServer(t, h2, sayWho)
			s := newCertificateScheme(t)
			provider := newProvider(t, s)
			var owners sync.Map // of connections
			var all sync.WaitGroup
			for i := range tenants {
				name := fmt.Sprintf("tenant-%d", i)
				cred := mustCredential(t, name)
				ready, err := provider.Ready(cred)
				if err != nil {
					t.Fatal(err)
				}
				for range each {
					all.Go(func() {
						x := &Exchange{Settings: &Settings{Provider: provider}, Tenant: credential.Tenant(name), Opened: upstream.Opened{Ready: ready, Credential: cred}}
						defer x.Close()
						res, err := u.Send(newRequest(t, nil, "GET", u.URL, nil), x)
						if err != nil {
							t.Error(err)
							return
						}
						defer res.Body.Close()
						if got := res.Header.Get("X-Who"); got != name {
							t.Errorf("sent as %q for %s", got, name)
						}
						if owner, taken := owners.LoadOrStore(res.Header.Get("X-Connection"), name); taken && owner != name {
							t.Errorf("%s and %s share a connection", owner, name)
						}
					})
				}
			}
			all.Wait()
			if n := s.asked.Load(); n != tenants {
				t.Errorf("%d TLS configurations for %d versions of credentials", n, tenants)
			}
		})
	}
}

func TestTenantsWithTheSameCredentialDoNotShareAConnectionEither(t *testing.T) {
	u := newCertificateServer(t, false, sayWho)
	x, _ := newExchange(t, newCertificateScheme(t))
	acme := u.expectSent(t, x, "old")
	x.Tenant = "globex"
	if u.expectSent(t, x, "old") == acme {
		t.Error("they do")
	}
	x.Tenant = "acme"
	if u.expectSent(t, x, "old") != acme {
		t.Error("a tenant's connection is not used again")
	}
}

func TestNewVersionOfACredentialGetsNewConnections(t *testing.T) {
	u := newCertificateServer(t, false, sayWho)
	s := newCertificateScheme(t)
	x, _ := newExchange(t, s)
	before := u.expectSent(t, x, "old")
	if u.expectSent(t, x, "old") != before {
		t.Error("the connection is not used again")
	}
	x.authenticate(t, mustCredential(t, "new"))
	after := u.expectSent(t, x, "new")
	u.expectClosed(t, before)
	if u.expectSent(t, x, "new") != after || s.asked.Load() != 2 {
		t.Errorf("%d TLS configurations", s.asked.Load())
	}
}

func TestReplayAfterARenewalGoesOutOnNewConnections(t *testing.T) {
	u := newCertificateServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName == "old" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		sayWho(w, r)
	})
	x, c := newExchange(t, newCertificateScheme(t))
	u.expectSent(t, x, "new")
	<-u.closed
	c.expect(t, 1, 0, 1)
}

func TestConnectionsInUseEndWithTheirRequest(t *testing.T) {
	end := make(chan struct{})
	u := newCertificateServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			sayWho(w, r)
			return
		}
		w.Header().Set("X-Connection", r.RemoteAddr)
		_, _ = io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-end
		_, _ = io.WriteString(w, " end")
	})
	x, _ := newExchange(t, newCertificateScheme(t))
	old := x.Opened
	slow, err := u.Send(newRequest(t, nil, "GET", u.URL+"/slow", nil), x)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	late, err := u.transportFor(x) // By a request that has yet to be sent.
	if err != nil {
		t.Fatal(err)
	}
	x.authenticate(t, mustCredential(t, "new"))
	u.expectSent(t, x, "new")

	close(end)
	expectAnswer(t, slow, 200, "begin end")
	u.expectClosed(t, slow.Header.Get("X-Connection"))

	res, err := late.RoundTrip(newRequest(t, nil, "GET", u.URL, nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	u.expectClosed(t, res.Header.Get("X-Connection"))

	x.Opened = old // A replay with the version before.
	if u.expectSent(t, x, "old") == slow.Header.Get("X-Connection") {
		t.Error("a closed connection is used")
	}
}

func TestSchemesAuthenticateAConnectionTogether(t *testing.T) {
	one, two := newCertificateScheme(t), newCertificateScheme(t)
	x, _ := newExchange(t, one, two)
	transport := &Transport{Apart: func(configure func(*tls.Config) *tls.Config) (ApartTransport, error) {
		if n := len(configure(new(tls.Config)).Certificates); n != 2 {
			t.Errorf("%d certificates", n)
		}
		return new(countingTransport), nil
	}}
	if _, err := transport.Send(newRequest(t, nil, "GET", "https://upstream.example/", nil), x); err != nil {
		t.Fatal(err)
	}
}

func TestTransportsWithoutConnectionsApartCannotBeUsed(t *testing.T) {
	for name, apart := range map[string]func(func(*tls.Config) *tls.Config) (ApartTransport, error){
		"never": nil,
		"not with these settings": func(func(*tls.Config) *tls.Config) (ApartTransport, error) {
			return nil, errors.New("cannot")
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := &script{}
			x, c := newExchange(t, newCertificateScheme(t))
			res, err := (&Transport{Base: base, Apart: apart}).Send(newRequest(t, nil, "GET", "https://upstream.example/", nil), x)
			if err != nil || res.StatusCode != 502 || res.Header.Get(HeaderError) != "credential_invalid" || len(base.tokens) > 0 {
				t.Fatal(res, err)
			}
			c.expect(t, 0, 0, 0)
		})
	}
}

// countingTransport counts how often its idle connections are closed.
type countingTransport struct{ closes atomic.Int32 }

func (c *countingTransport) RoundTrip(*http.Request) (*http.Response, error) { return answer(200), nil }

func (c *countingTransport) CloseIdleConnections() { c.closes.Add(1) }

func TestCredentialsWithConnectionsApartAreBounded(t *testing.T) {
	made := make(map[credential.Tenant]*countingTransport)
	var tenant credential.Tenant
	transport := &Transport{Apart: func(func(*tls.Config) *tls.Config) (ApartTransport, error) {
		made[tenant] = new(countingTransport)
		return made[tenant], nil
	}}
	x, _ := newExchange(t, newCertificateScheme(t))
	send := func(to credential.Tenant) {
		t.Helper()
		tenant, x.Tenant = to, to
		if _, err := transport.Send(newRequest(t, nil, "GET", "https://upstream.example/", nil), x); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxApart {
		send(credential.Tenant(fmt.Sprintf("tenant-%d", i)))
	}
	send("tenant-0") // It is not the one that was not used for longest any more.
	for i := range 3 {
		send(credential.Tenant(fmt.Sprintf("another-%d", i)))
	}
	if n := transport.apart.order.Len(); n != maxApart || len(transport.apart.byKey) != n {
		t.Errorf("%d and %d are kept", n, len(transport.apart.byKey))
	}
	for name, want := range map[credential.Tenant]int32{"tenant-0": 0, "tenant-1": 1, "tenant-2": 1, "tenant-3": 1, "tenant-4": 0, "another-2": 0} {
		if n := made[name].closes.Load(); n != want {
			t.Errorf("%s: closed %d times", name, n)
		}
	}
	transport.CloseIdleConnections()
	for _, name := range []credential.Tenant{"tenant-0", "tenant-4", "another-2"} {
		if n := made[name].closes.Load(); n != 1 {
			t.Errorf("%s: closed %d times", name, n)
		}
	}
}
