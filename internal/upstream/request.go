package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// DefaultTimeout bounds a request of this package.
const DefaultTimeout = 10 * time.Second

// Request is a request to the upstream that is made with a credential, as the
// scheme applies it.
type Request struct {
	Method string // default: GET

	// URL is https, unless the host is a loopback address. Fields of the credential
	// in it hold nothing but what stands for itself in a URL (RFC 3986, section 2.3).
	URL *template.Template

	// Statuses are the answers that mean success. Default: 200 to 299.
	Statuses []int

	// Timeout bounds it. Default: [DefaultTimeout].
	Timeout time.Duration

	// Transport sends it. Default: one of this package's own.
	Transport http.RoundTripper
}

// errHost refuses to send a credential where it must not go.
var errHost = errors.New("the host is not among the allowed ones")

// Send makes the request with cred and returns the answer's status. An error means
// that there is no answer, and quotes neither the URL nor what is in cred.
func (r *Request) Send(ctx context.Context, p *Provider, cred *credential.Credential) (status int, err error) {
	ready, err := p.Ready(cred)
	if err != nil {
		return 0, err
	}
	u, err := r.URL.ExecuteURL(cred)
	if err != nil {
		return 0, err
	}
	if !p.Hosts.AllowsURL(u) {
		return 0, errHost
	}
	timeout := r.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	transport, err := r.transportFor(ready)
	if err != nil {
		return 0, err
	}
	for challenged := false; ; challenged = true {
		res, err := r.attempt(ctx, transport, u, ready)
		if err != nil {
			return 0, err
		}
		readSome(res)
		if challenged || res.StatusCode != http.StatusUnauthorized || !ready.Challenge(res) {
			return res.StatusCode, nil
		}
	}
}

// attempt makes the request once.
func (r *Request) attempt(ctx context.Context, transport http.RoundTripper, u *url.URL, ready *Ready) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method(), u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("cannot make the request")
	}
	req.Header.Set("User-Agent", userAgent)
	for _, a := range ready.Authenticators {
		if err := a.Authenticate(req, noBody{}); err != nil {
			return nil, errors.New("the request cannot be authenticated")
		}
	}
	if req.URL.Host != u.Host || req.URL.Scheme != u.Scheme || req.Host != u.Host {
		return nil, errHost
	}
	return roundTrip(transport, req)
}

// transportFor returns what sends the request. One that authenticates its connections is
// not used a second time.
func (r *Request) transportFor(ready *Ready) (http.RoundTripper, error) {
	if !ready.AuthenticatesConnections() {
		return r.Transport, nil
	}
	base := shared
	if r.Transport != nil {
		var ok bool
		if base, ok = r.Transport.(*http.Transport); !ok {
			return nil, errors.New("the transport cannot have connections of one credential alone")
		}
	}
	own := base.Clone()
	own.DisableKeepAlives = true
	if own.TLSClientConfig == nil {
		own.TLSClientConfig = new(tls.Config)
	}
	own.TLSClientConfig = ready.TLSConfig(own.TLSClientConfig)
	return own, nil
}

func (r *Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func (r *Request) succeeded(status int) bool {
	if len(r.Statuses) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.Contains(r.Statuses, status)
}

// TestError says that a credential did not pass its provider's test.
type TestError struct {
	// Status is the upstream's answer, 0 if there was none; with Err it is the token
	// endpoint's.
	Status int

	// Err is the cause if it is not the upstream's answer. It holds no secret.
	Err error
}

func (e *TestError) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("the credential could not be tested: %v", e.Err)
	case e.Err != nil:
		return fmt.Sprintf("the token endpoint answered %d: %v", e.Status, e.Err)
	}
	return fmt.Sprintf("the upstream answered %d to the test of the credential", e.Status)
}

// Unwrap returns the cause.
func (e *TestError) Unwrap() error { return e.Err }

// Is makes a credential that the upstream rejects one that is not valid.
func (e *TestError) Is(target error) bool { return target == credential.ErrInvalid && e.Rejected() }

// Rejected reports whether the upstream said no, and not only nothing: an answer
// of 429, or of 500 and above, tells nothing of the credential.
func (e *TestError) Rejected() bool {
	return e.Status != 0 && e.Status != http.StatusTooManyRequests && e.Status < 500
}

// Try makes the provider's test with a new credential, and returns that: with a token that
// was obtained for the test, if it had none.
func (p *Provider) Try(ctx context.Context, cred *credential.Credential) (*credential.Credential, error) {
	if p.Test == nil {
		return cred, nil
	}
	if ready, _ := p.Ready(cred); ready.Unobtained {
		var err error
		if cred, err = p.obtain(ctx, cred); err != nil {
			return nil, err
		}
	}
	if _, err := p.runTest(ctx, cred); err != nil {
		return nil, err
	}
	return cred, nil
}

const userAgent = "upstream_auth"

// noBody is the body of a request that has none.
type noBody struct{}

// Hash implements [scheme.Body].
func (noBody) Hash(hash.Hash) error { return nil }
