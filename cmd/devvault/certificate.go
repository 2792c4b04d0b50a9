package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"

	"github.com/hashicorp/vault/command/server"
)

// devCertificate returns a certificate for host, and the file of the CA that
// vouches for it. What an earlier start left in dir is used again if it still
// fits: clients that trust it survive a restart.
func devCertificate(dir, host string) (tls.Certificate, string, error) {
	caFile := filepath.Join(dir, server.VaultDevCAFilename)
	certFile := filepath.Join(dir, server.VaultDevCertFilename)
	keyFile := filepath.Join(dir, server.VaultDevKeyFilename)

	if cert, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && vouches(caFile, cert.Leaf, host) {
		return cert, caFile, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return tls.Certificate{}, "", err
	}
	// Vault writes them read-only, and cannot replace what it wrote.
	for _, name := range []string{caFile, certFile, keyFile} {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			return tls.Certificate{}, "", err
		}
	}
	if _, err := server.DevTLSConfig("inmem", dir, []string{host, "::1"}); err != nil {
		return tls.Certificate{}, "", err
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	return cert, caFile, err
}

// vouches says whether the CA in caFile vouches for leaf as host, today.
func vouches(caFile string, leaf *x509.Certificate, host string) bool {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
	return err == nil
}
