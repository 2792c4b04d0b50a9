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

// newRemote makes a source that has fetched nothing yet.
func newRemote(address string, transport http.RoundTripper) *remote {
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			// Connecting goes on without the request that it is for, so it has its own bounds.
			DialContext:            (&net.Dialer{Timeout: fetchTime}).DialContext,
			TLSHandshakeTimeout:    fetchTime,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	r := &remote{address: address, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchTime,
	}}
	r.latest.Store(&fetched{})
	return r
}

// fetch gets the key set. Its errors hold nothing that the server sent but the status.
func (r *remote) fetch() (*jose.JSONWebKeySet, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.address, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := r.client.Do(req)
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
