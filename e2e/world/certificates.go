package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"
)

// Certificates writes those of an authority, of a server at localhost, and of clients, as
// files for Caddy to read.
func (w *World) Certificates(clients ...string) {
	w.Helper()
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	issue := func(name string, template *x509.Certificate) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		w.Check(err)
		// Without a name it would look like its own authority's.
		template.Subject.CommonName, template.SerialNumber, template.BasicConstraintsValid = name, big.NewInt(time.Now().UnixNano()), true
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if authority == nil {
			authority, authorityKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, authorityKey)
		w.Check(err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		w.Check(err)
		w.File(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		w.File(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	}
	issue("ca", &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	issue("server", &x509.Certificate{DNSNames: []string{"localhost"}})
	for _, name := range clients {
		uri, err := url.Parse("spiffe://example.org/tenant/" + name)
		w.Check(err)
		issue(name, &x509.Certificate{URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
}
