package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles are the settings tls_ca, tls_client_cert and tls_client_key of connections
// that this process makes: PEM files, whose names may hold run-time placeholders.
type TLSFiles struct{ CA, ClientCert, ClientKey string }

// Check reports what is wrong, as far as adapting a Caddyfile can tell.
func (files TLSFiles) Check() error {
	if (files.ClientCert == "") != (files.ClientKey == "") {
		return errors.New("tls_client_cert and tls_client_key go together")
	}
	return nil
}

// Load reads the files; nil if there are none. The client certificate is read again
// at each handshake, so that a renewed one counts.
func (files TLSFiles) Load(resolve *Resolver) (*tls.Config, error) {
	ca := resolve.Text("tls_ca", files.CA)
	certFile, keyFile := resolve.Text("tls_client_cert", files.ClientCert), resolve.Text("tls_client_key", files.ClientKey)
	if resolve.Err() != nil {
		return nil, resolve.Err()
	}
	if ca == "" && certFile == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(bytes.TrimSpace(pem)) {
			return nil, errors.New("tls_ca: no certificate in the file")
		}
	}
	if certFile != "" {
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			return nil, fmt.Errorf("tls_client_cert: %w", err)
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &certificate, err
		}
	}
	return t, nil
}
