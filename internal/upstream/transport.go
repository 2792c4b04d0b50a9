package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// maxRead is how much is read of an answer of which little is looked at, in bytes.
const maxRead = 64 << 10

const (
	dialTimeout     = 5 * time.Second
	idleConnTimeout = 30 * time.Second
)

// NewTransport makes connections for the requests of this package. A nil config
// means the system's certificate authorities and no client certificate.
func NewTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// shared is for those who give no transport of their own.
var shared = NewTransport(nil)

// Causes of a request without an answer. What net/http says of it has the URL in it,
// and so perhaps a field of the credential.
var (
	errTimeout     = errors.New("no answer in time")
	errCertificate = errors.New("the server's certificate is not trusted")
	errNoAnswer    = errors.New("cannot connect, or the connection ended without an answer")
)

// roundTrip sends req once, without following redirects.
func roundTrip(transport http.RoundTripper, req *http.Request) (*http.Response, error) {
	if transport == nil {
		transport = shared
	}
	res, err := transport.RoundTrip(req)
	if err == nil {
		return res, nil
	}
	return nil, withoutURL(err)
}

func withoutURL(err error) error {
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errTimeout
	case errors.As(err, &certificate):
		return errCertificate
	}
	return errNoAnswer
}

// readSome reads the beginning of an answer, and so lets its connection be used again.
func readSome(res *http.Response) {
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxRead))
}
