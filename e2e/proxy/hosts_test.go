package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// hosts is the upstream over TLS under many names, and the name server that knows them.
type hosts struct {
	port     string
	resolver string // address of the name server
	ca       []byte // the certificate that the upstream's is issued by, PEM

	mu     sync.Mutex
	asked  []string // the names that were looked up
	dialed []string // the names that clients wanted a certificate for
}

// newHosts serves the world's API for everything below api.test and evil.test.
func newHosts(w *world.World) *hosts {
	w.Helper()
	h := new(hosts)
	certificate := h.issue(w)
	server := httptest.NewUnstartedServer(w.API)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		h.note(&h.dialed, hello.ServerName)
		return certificate, nil
	}}
	server.StartTLS()
	w.Serve(server)
	_, h.port, _ = net.SplitHostPort(server.Listener.Addr().String())

	names, err := new(net.ListenConfig).ListenPacket(w.Ctx, "udp", "127.0.0.1:0")
	w.Check(err)
	h.resolver = "udp/" + names.LocalAddr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.resolve(names)
	}()
	w.Cleanup(func() { _ = names.Close(); <-done })
	return h
}

// issue makes a certificate for the names, and the authority that it is from.
func (h *hosts) issue(w *world.World) *tls.Certificate {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.api.test", "api.test", "*.evil.test", "evil.test", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	w.Check(err)
	h.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// resolve answers all names with the loopback address.
func (h *hosts) resolve(names net.PacketConn) {
	buffer := make([]byte, 512)
	for {
		n, from, err := names.ReadFrom(buffer)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(buffer[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		q := question.Questions[0]
		h.note(&h.asked, strings.TrimSuffix(q.Name.String(), "."))
		reply := dnsmessage.Message{Header: dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true}, Questions: question.Questions}
		if q.Type == dnsmessage.TypeA {
			reply.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if packed, err := reply.Pack(); err == nil {
			_, _ = names.WriteTo(packed, from)
		}
	}
}

func (h *hosts) note(list *[]string, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, name)
}

// seen returns the names that were looked up, or dialled.
func (h *hosts) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Concat(h.asked, h.dialed)
	slices.Sort(all)
	return slices.Compact(all)
}
