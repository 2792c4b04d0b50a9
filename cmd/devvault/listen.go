package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// listener is where the API is served.
type listener struct {
	net.Listener
	url     string // with the real port
	caFile  string // empty without TLS
	tempDir string // removed on Close
}

// listen binds the address. Connections wait in its backlog until the core is
// unsealed, so nobody is answered by half a Vault.
func listen(opts options) (*listener, error) {
	host, _, err := net.SplitHostPort(opts.address)
	if err != nil {
		return nil, fmt.Errorf("-dev-listen-address: %w", err)
	}
	ln, err := net.Listen("tcp", opts.address)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	address := net.JoinHostPort(host, port)
	if !opts.tls {
		return &listener{Listener: ln, url: "http://" + address}, nil
	}

	l := &listener{Listener: ln, url: "https://" + address}
	if opts.certDir == "" {
		if l.tempDir, err = os.MkdirTemp("", "devvault-tls"); err != nil {
			l.Close()
			return nil, err
		}
		opts.certDir = l.tempDir
	}
	cert, caFile, err := devCertificate(opts.certDir, host)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("certificate in %s: %w", opts.certDir, err)
	}
	l.caFile = caFile
	l.Listener = tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	})
	return l, nil
}

func (l *listener) Close() error {
	if l.tempDir != "" {
		os.RemoveAll(l.tempDir)
	}
	return l.Listener.Close()
}

// newHTTPServer serves the whole API of core, with the time limits of Vault's
// own listener.
func newHTTPServer(core *vault.Core, l *listener, logger hclog.Logger) *http.Server {
	return &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core: core,
			ListenerConfig: &configutil.Listener{
				Type:       configutil.TCP,
				Address:    l.Addr().String(),
				TLSDisable: l.caFile == "",
			},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          logger.Named("http").StandardLogger(nil),
	}
}
