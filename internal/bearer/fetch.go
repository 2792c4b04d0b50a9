package bearer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// newTransport makes one that leaves nothing open behind a request.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// Connecting goes on without the request that it is for, so it has its own bounds.
		DialContext:            (&net.Dialer{Timeout: fetchTime}).DialContext,
		TLSHandshakeTimeout:    fetchTime,
		DisableKeepAlives:      true,
		Protocols:              protocols,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// newFetch returns what fetches the key set at address. Its errors hold nothing
// that the server sent but the status.
func newFetch(address string, transport http.RoundTripper) func(context.Context) (*jose.JSONWebKeySet, error) {
	if transport == nil {
		transport = newTransport()
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) (*jose.JSONWebKeySet, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "application/jwk-set+json, application/json")
		res, err := client.Do(req)
		if err != nil {
			return nil, noAnswer(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("key server answered with status %d, not 200", res.StatusCode)
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
		if err != nil {
			return nil, noAnswer(err)
		}
		if len(body) > maxKeySet {
			return nil, fmt.Errorf("answer of the key server is larger than %d bytes", maxKeySet)
		}
		keys, err := parseKeySet(body)
		if err != nil {
			return nil, fmt.Errorf("answer of the key server: %w", err)
		}
		return keys, nil
	}
}

// noAnswer tells why there is no answer, or no whole one. It keeps only errors
// that are of this machine's making.
func noAnswer(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("no answer of the key server in time")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New("certificate of the key server is not trusted")
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return fmt.Errorf("cannot connect to the key server: %w", dial)
	}
	return errors.New("no answer of the key server")
}
