package tokenrequest_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// notDialled checks that there is no connection, and why.
func notDialled(t *testing.T, conn tokenrequest.Conn, err error, reason string) {
	t.Helper()
	if e := problem(t, err); conn != nil || e.Reason != reason || flags(e) != "unspent, no response" {
		t.Errorf("got %v, %q (%s), want %q", conn, e.Reason, flags(e), reason)
	}
}

func TestEndpointsThatCannotBeReached(t *testing.T) {
	closed := newPeer(t, false)
	closed.listener.Close()
	for name, endpoint := range map[string]string{
		"nobody listens":    closed.url,
		"no https":          "http://as.example/token",
		"no URL":            "canary",
		"no host":           "https:///token",
		"no name in DNS":    "https://\u0301.example/token",
		"a secret in front": "https://canary:canary@as.example/token",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := direct().Dial(t.Context(), endpoint, nil)
			notDialled(t, conn, err, "cannot connect")
		})
	}
	t.Run("the caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		conn, err := direct().Dial(ctx, newPeer(t, false).url, nil)
		notDialled(t, conn, err, "cannot connect in time")
	})
}

func TestConnectingIsBounded(t *testing.T) {
	for name, proxy := range map[string]*url.URL{
		"a handshake that does not end": nil,
		"a proxy that does not answer":  {Scheme: "http", Host: "proxy.example:8080"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				client := tokenrequest.NewTestClient(func(context.Context, string, string) (net.Conn, error) { return ours, nil }, proxy)
				sent := make(chan string, 1)
				go func() {
					all, _ := io.ReadAll(theirs) // ends when our end is closed
					sent <- string(all)
				}()
				start := time.Now()
				conn, err := client.Dial(t.Context(), "https://as.example/token", nil)
				notDialled(t, conn, err, "cannot connect in time")
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("took %v", took)
				}
				if got := <-sent; got == "" || strings.Contains(got, "canary") {
					t.Errorf("sent %q", got)
				}
			})
		})
	}
}

// quiet serves TLS without a log of the handshakes that fail.
func quiet(t *testing.T, handler http.HandlerFunc, change func(*httptest.Server)) (s *httptest.Server, trusting *tls.Config) {
	t.Helper()
	s = httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func TestTrustIsByTheConfiguration(t *testing.T) {
	s, trusting := quiet(t, respond(200, "application/json", granted), nil)
	conn, err := direct().Dial(t.Context(), s.URL, nil)
	notDialled(t, conn, err, "its certificate is not trusted")
	if r, err := ask(t, s.URL, trusting); err != nil || r.Status != 200 {
		t.Errorf("got %+v, %v", r, err)
	}
	if trusting.NextProtos != nil {
		t.Error("the configuration was changed")
	}
}

// clientCertificate makes one, and a pool with what vouches for it.
func clientCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestClientCertificates(t *testing.T) {
	certificate, authorities := clientCertificate(t)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			s, trusting := quiet(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				respond(200, "application/json", granted)(w, r)
			}, func(s *httptest.Server) {
				s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities, MinVersion: version, MaxVersion: version}
			})
			// Without one: refused in the handshake, or with TLS 1.3 right after it.
			_, err := ask(t, s.URL, trusting)
			if e := problem(t, err); !e.NoResponse || version == tls.VersionTLS12 && (e.Reason != "it refuses the TLS connection" || !e.Unspent) {
				t.Errorf("got %v (%s)", e, flags(e))
			}
			trusting.Certificates = []tls.Certificate{certificate}
			if r, err := ask(t, s.URL, trusting); err != nil || r.Status != 200 || requests.Load() != 1 {
				t.Errorf("got %+v, %v after %d requests", r, err, requests.Load())
			}
		})
	}
}

func TestHTTP1IsSpokenAlone(t *testing.T) {
	t.Run("where HTTP/2 is offered", func(t *testing.T) {
		s, trusting := quiet(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }, func(s *httptest.Server) { s.EnableHTTP2 = true })
		if r, err := ask(t, s.URL, trusting); err != nil || string(r.Body) != "HTTP/1.1" {
			t.Errorf("got %+v, %v", r, err)
		}
	})
	t.Run("where there is nothing like it", func(t *testing.T) {
		p := newPeer(t, true)
		// Go's TLS lets a client of HTTP/1.1 alone connect to "h2".
		p.tls.NextProtos = []string{"h2-only"}
		taken := p.accept()
		conn, err := direct().Dial(t.Context(), p.url, p.trusted)
		notDialled(t, conn, err, "it refuses the TLS connection")
		if other := <-taken; other.err == nil {
			t.Error("the handshake ended well")
		}
	})
	t.Run("where it is spoken unasked", func(t *testing.T) {
		defer log.SetOutput(log.Writer())
		log.SetOutput(io.Discard) // net/http tells of what came unasked
		p := newPeer(t, false)
		conn, other := p.dial()
		io.WriteString(other, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // a SETTINGS frame
		go func() {
			_, _ = other.Read(make([]byte, 1))
			other.Close()
		}()
		r, err := conn.Send(t.Context(), refreshRequest(t, p.url, 0), soon())
		if r != nil || !problem(t, err).NoResponse {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// proxied is a proxy that answers CONNECT and then is the endpoint.
func proxied(t *testing.T, answerText string, server *tls.Config, asked chan<- *http.Request) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Error(err)
			return
		}
		asked <- req
		io.WriteString(conn, answerText)
		secure := tls.Server(conn, server)
		if secure.Handshake() == nil {
			<-answer(t, secure, grantedAnswer)
		}
	}()
	return &url.URL{Scheme: "http", User: url.UserPassword("sidecar", "canary-proxy"), Host: listener.Addr().String()}
}

func TestProxies(t *testing.T) {
	server, trusting := certificates()
	const endpoint = "https://example.com/token" // the name in the certificate
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("sidecar:canary-proxy"))

	t.Run("a tunnel", func(t *testing.T) {
		asked := make(chan *http.Request, 1)
		proxy := proxied(t, "HTTP/1.1 200 OK\r\n\r\n", server, asked)
		var proxiedFor string
		client := &tokenrequest.Client{Proxy: func(r *http.Request) (*url.URL, error) { proxiedFor = r.URL.String(); return proxy, nil }}
		conn, err := client.Dial(t.Context(), endpoint, trusting)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		connect := <-asked
		if connect.Method != "CONNECT" || connect.Host != "example.com:443" || connect.Header.Get("Proxy-Authorization") != basic {
			t.Errorf("the proxy was asked %+v", connect)
		}
		r, err := conn.Send(t.Context(), refreshRequest(t, endpoint, 0), soon())
		if err != nil || r.Status != 200 || proxiedFor != endpoint {
			t.Errorf("got %+v, %v; proxy for %s", r, err, proxiedFor)
		}
	})
	t.Run("a tunnel, too late", func(t *testing.T) {
		asked := make(chan *http.Request, 1)
		proxy := proxied(t, "HTTP/1.1 200 OK\r\n\r\n", server, asked)
		limits := soon()
		limits.Start = limits.Start.Add(-time.Hour)
		client := &tokenrequest.Client{Proxy: http.ProxyURL(proxy)}
		r, err := tokenrequest.Do(t.Context(), client, refreshRequest(t, endpoint, 0), trusting, limits)
		want(t, r, err, notSent, "unspent")
	})
	t.Run("one that wants to be paid", func(t *testing.T) {
		proxy := proxied(t, "HTTP/1.1 407 canary\r\nContent-Length: 0\r\n\r\n", server, make(chan *http.Request, 1))
		conn, err := (&tokenrequest.Client{Proxy: http.ProxyURL(proxy)}).Dial(t.Context(), endpoint, trusting)
		notDialled(t, conn, err, "cannot connect: the proxy answered 407")
	})
	t.Run("for an endpoint without TLS", func(t *testing.T) {
		var target string
		proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
			target = r.RequestURI
			respond(200, "application/json", granted)(w, r)
		})
		address, err := url.Parse(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		client := &tokenrequest.Client{Proxy: http.ProxyURL(address)}
		const endpoint = "http://localhost:1/token"
		r, err := tokenrequest.Do(t.Context(), client, refreshRequest(t, endpoint, 0), nil, soon())
		if err != nil || r.Status != 200 || target != endpoint {
			t.Errorf("got %+v, %v; asked for %s", r, err, target)
		}
	})
}
