// Package tlsfiles makes TLS settings of PEM files.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Files are PEM files for connections that this process makes: a part of the settings
// of whatever makes them.
type Files struct {
	// A PEM file with the only certificate authorities that are trusted. Default: the
	// system's.
	TLSCA string `json:"tls_ca,omitempty"`

	// PEM files with a client certificate and its key, read again at each connection so
	// that they can be rotated. Both or none. Default: none.
	TLSClientCert string `json:"tls_client_cert,omitempty"`
	TLSClientKey  string `json:"tls_client_key,omitempty"`
}

// Check reports what is wrong with the names. It reads no file.
func Check(f Files) error {
	if (f.TLSClientCert == "") != (f.TLSClientKey == "") {
		return errors.New("tls_client_cert and tls_client_key go together")
	}
	return nil
}

// Load reads the files; nil if there are none. The client certificate is read again at
// each handshake, so that a renewed one counts. An error names the setting and quotes
// nothing of a file.
func Load(f Files) (*tls.Config, error) {
	if f.TLSCA == "" && f.TLSClientCert == "" {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.TLSCA != "" {
		pem, err := os.ReadFile(f.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s holds no PEM certificate", f.TLSCA)
		}
	}
	if f.TLSClientCert != "" {
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(f.TLSClientCert, f.TLSClientKey)
			if err != nil {
				return nil, fmt.Errorf("tls_client_cert: %w", err)
			}
			return &certificate, nil
		}
		if _, err := load(nil); err != nil {
			return nil, err
		}
		t.GetClientCertificate = load
	}
	return t, nil
}
