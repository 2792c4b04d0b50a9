package config

import (
	"crypto/tls"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// LoadTLS reads the files of TLS whose names may hold run-time placeholders.
func LoadTLS(files tlsfiles.Files, resolve *Resolver) (*tls.Config, error) {
	files.TLSCA = resolve.Text("tls_ca", files.TLSCA)
	files.TLSClientCert = resolve.Text("tls_client_cert", files.TLSClientCert)
	files.TLSClientKey = resolve.Text("tls_client_key", files.TLSClientKey)
	if resolve.Err() != nil {
		return nil, resolve.Err()
	}
	return tlsfiles.Load(files)
}
