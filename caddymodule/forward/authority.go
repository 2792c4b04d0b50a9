package forward

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
)

const (
	// lifetime is how long certificates are good; they are issued anew when a third of it is
	// left.
	lifetime = 24 * time.Hour

	// backdate allows for clients whose clock is late.
	backdate = 5 * time.Minute

	// maxCertificates is how many are kept: hosts that a wildcard stands for may be any number.
	maxCertificates = 1000
)

// authority issues certificates for claimed hosts.
type authority struct {
	ca  *caddypki.CA
	key *ecdsa.PrivateKey // of all certificates; it never leaves this process

	mu           sync.Mutex
	certificates map[string]*tls.Certificate // by host
}

func newAuthority(ctx caddy.Context, id string) (*authority, error) {
	if id == "" {
		id = caddypki.DefaultCAID
	}
	app, err := ctx.App("pki")
	if err != nil {
		return nil, err
	}
	ca, err := app.(*caddypki.PKI).GetCA(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &authority{ca: ca, key: key, certificates: make(map[string]*tls.Certificate)}, nil
}

// certificate returns one for a host, as [hosts.Split] returns it.
func (a *authority) certificate(host string) (*tls.Certificate, error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.certificates[host]; c != nil && now.Before(renewFrom(c.Leaf)) {
		return c, nil
	}
	c, err := a.issue(host, now)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate: %w", err)
	}
	if len(a.certificates) >= maxCertificates {
		for other := range a.certificates { // any
			delete(a.certificates, other)
			break
		}
	}
	a.certificates[host] = c
	return c, nil
}

// renewFrom is from when on a certificate is not used any more.
func renewFrom(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

func (a *authority) issue(host string, now time.Time) (*tls.Certificate, error) {
	chain, signer := a.ca.IntermediateCertificateChain(), a.ca.IntermediateKey()
	if len(chain) == 0 {
		return nil, fmt.Errorf("authority %s has no certificate", a.ca.ID)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	notAfter := now.Add(lifetime)
	if chain[0].NotAfter.Before(notAfter) {
		notAfter = chain[0].NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "upstream_auth"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, chain[0], a.key.Public(), signer)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: crypto.Signer(a.key)}
	for _, intermediate := range chain {
		c.Certificate = append(c.Certificate, intermediate.Raw)
	}
	c.Leaf, err = x509.ParseCertificate(der)
	return c, err
}
