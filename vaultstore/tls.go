package vaultstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSConfig is how to reach Vault over https.
type TLSConfig struct {
	// CA is a file of PEM certificates: the only authorities that are trusted.
	// It is read once. Default: the system's.
	CA string `json:"ca,omitempty"`

	// ClientCert and ClientKey are PEM files for mutual TLS, read anew at each
	// handshake so that they can be rotated. Both or none.
	ClientCert string `json:"client_cert,omitempty"`
	ClientKey  string `json:"client_key,omitempty"`

	// ServerName is the name that Vault's certificate must be for, and that is
	// sent as SNI. Default: the address's host.
	ServerName string `json:"server_name,omitempty"`
}

// load reads the files. The error names the file and quotes nothing of it.
func (c *TLSConfig) load() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("tls ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls ca: %s holds no PEM certificate", c.CA)
		}
	}
	if c.ClientCert == "" && c.ClientKey == "" {
		return config, nil
	}
	if c.ClientCert == "" || c.ClientKey == "" {
		return nil, errors.New("tls client_cert and client_key: one without the other")
	}
	pair := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("tls client certificate: %w", err)
		}
		return &cert, nil
	}
	if _, err := pair(nil); err != nil {
		return nil, err
	}
	config.GetClientCertificate = pair
	return config, nil
}
