package vaultstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
)

// maxAnswer bounds what is read of one answer, in bytes. Vault's JSON encoder
// may spell each byte of a document with six.
const maxAnswer = 8 * credential.MaxSize

// Limits of the connections to Vault.
const (
	dialTimeout     = 5 * time.Second
	maxIdleConns    = 64
	idleConnTimeout = 90 * time.Second
)

// newTransport makes the connections to Vault. They speak HTTP/1.1: there a
// request that times out takes its connection with it, while a silent HTTP/2
// connection would go on failing request after request. No proxy is taken from
// the environment.
func newTransport(cfg *Config) (*http.Transport, error) {
	tlsConfig, err := tlsfiles.Load(cfg.Files)
	if err != nil {
		return nil, err
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	tlsConfig.ServerName = cfg.TLSServerName
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: dialTimeout,
		Protocols:           protocols,
		MaxIdleConns:        maxIdleConns,
		MaxIdleConnsPerHost: maxIdleConns,
		IdleConnTimeout:     idleConnTimeout,
	}, nil
}

// newClient makes a client without a token that repeats no request by itself.
//
// The constructor of vault/api reads VAULT_* variables. Everything that they can
// set is given here or set back; what is left is that a malformed one (a
// VAULT_CACERT that cannot be read, say) is an error.
func newClient(cfg *Config, transport http.RoundTripper) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: cfg.Address,
		HttpClient: &http.Client{
			Transport: boundedTransport{transport},
			// The client has its own way with redirects: one, and none to http.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return false, nil },
		// What its constructor would put in the place of zeros.
		MinRetryWait: time.Second,
		MaxRetryWait: time.Second,
	})
	if urlErr := (*url.Error)(nil); errors.As(err, &urlErr) {
		err = errors.New("a URL cannot be parsed") // which may have a password in it
	}
	if err != nil {
		return nil, fmt.Errorf("making a Vault client (are the VAULT_* environment variables well formed?): %w", err)
	}
	client.SetToken("")
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	return client, nil
}

// boundedTransport cuts off answers that are larger than any that Vault gives.
type boundedTransport struct{ base http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// request is one call of Vault's API.
type request struct {
	method string
	path   string // below /v1/
	params url.Values
	body   any // JSON; nil: none

	// forward asks a performance standby to have the active node answer.
	forward bool
}

// answer is what Vault said to a request, whatever its status.
type answer struct {
	status int
	body   []byte
	date   time.Time // Vault's clock, to the second; zero if it does not say
}

// send makes one request with a token, once. It is done when ctx is. The error
// means that there was no whole answer, and does not contain the path.
func send(ctx context.Context, client *api.Client, token string, r request) (answer, error) {
	req := client.NewRequest(r.method, "/v1/"+r.path)
	req.ClientToken = token
	req.Params = r.params
	if r.forward {
		api.ForwardAlways()(req)
	}
	if r.body != nil {
		if err := req.SetJSONBody(r.body); err != nil {
			return answer{}, fmt.Errorf("encoding the request: %w", err)
		}
	}
	// The one call that takes a token a request: the methods that are to replace
	// it use the client's, which another request may be replacing.
	resp, err := client.RawRequestWithContext(ctx, req) //nolint:staticcheck // see above
	if resp == nil {
		return answer{}, withoutURL(err)
	}
	// An error together with a response only says that its status is one.
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	a := answer{status: resp.StatusCode, body: body}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.date = date
	}
	return a, nil
}
