package discovery

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// maxAnswer bounds an answer in bytes, decompressed.
	maxAnswer = 256 << 10

	connectTimeout = 5 * time.Second
	requestTimeout = 10 * time.Second
)

// NewClient makes the client for requests to the authorization server, those to the
// token endpoint apart: they are few, so each has a connection of its own; they are
// not redirected, since a redirect would carry an access token elsewhere, and metadata
// have to lie where they are asked for.
func NewClient(transport http.RoundTripper, config *tls.Config) *http.Client {
	if transport == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSClientConfig:        config.Clone(),
			TLSHandshakeTimeout:    connectTimeout,
			DisableKeepAlives:      true,
			Protocols:              protocols,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       requestTimeout,
	}
}

// bounded lets nobody read more than maxAnswer of an answer: it ends with an error
// there.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	return response, nil
}

// Get makes a request and reads its answer to the end. The status is 0 if there is none.
func Get(c *http.Client, r *http.Request) (status int, body []byte, err error) {
	r.Header.Set("Accept", "application/json")
	response, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}
