package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Defaults of a [Fetch].
const (
	DefaultFetchTimeout = 5 * time.Second
	DefaultNegativeTTL  = 10 * time.Second
)

// HeaderTenant names the tenant in a request to the application.
const HeaderTenant = "X-Tenant-ID"

// Placeholders in the URL of a [Fetch].
const (
	tenantPlaceholder   = "{tenant}"
	providerPlaceholder = "{provider}"
)

// Fetch is where the application itself gives out the credentials of its tenants. It
// is asked with GET and answers 200 and the credential, a JSON object. With 204, 404
// or 410 it says that it has none.
type Fetch struct {
	// URL is https, or http on a loopback host. {tenant} and {provider} in its path or
	// query stand for the names; without {tenant} the query parameter tenant is added.
	// The header [HeaderTenant] names the tenant, too.
	URL string

	// Header authenticates this process to the application.
	Header http.Header

	// TLS authenticates it by certificate. Default: the system's authorities, no
	// client certificate.
	TLS *tls.Config

	// Timeout bounds one request. Default: [DefaultFetchTimeout].
	Timeout time.Duration

	// NegativeTTL is how long "there is none", a credential that is no good, and a
	// failure are remembered, and how far two requests for a tenant whose credential
	// the upstream keeps rejecting are apart. Default: [DefaultNegativeTTL].
	NegativeTTL time.Duration

	transport *http.Transport
}

// Prepare checks f and fills in its defaults, before its first use.
func (f *Fetch) Prepare() error {
	if err := CheckFetchURL(f.URL); err != nil {
		return err
	}
	if f.Timeout == 0 {
		f.Timeout = DefaultFetchTimeout
	}
	if f.NegativeTTL == 0 {
		f.NegativeTTL = DefaultNegativeTTL
	}
	f.transport = NewTransport(f.TLS)
	return nil
}

// Close ends idle connections.
func (f *Fetch) Close() { f.transport.CloseIdleConnections() }

// CheckFetchURL reports what is wrong with the URL of a [Fetch].
func CheckFetchURL(text string) error {
	_, err := (&Fetch{URL: text}).address("provider", "tenant")
	return err
}

// address returns the URL to ask for a tenant's credential. The names are escaped for
// their place, though neither can hold anything that would need it.
func (f *Fetch) address(provider string, tenant credential.Tenant) (*url.URL, error) {
	path, query, hasQuery := strings.Cut(f.URL, "?")
	fill := func(text string, escape func(string) string) string {
		return strings.NewReplacer(tenantPlaceholder, escape(string(tenant)), providerPlaceholder, escape(provider)).Replace(text)
	}
	filled := fill(path, url.PathEscape)
	if hasQuery {
		filled += "?" + fill(query, url.QueryEscape)
	}
	if authority, _ := strings.CutSuffix(path, pathOf(path)); strings.ContainsAny(authority, "{}") {
		return nil, errors.New("a placeholder stands in the host")
	}
	u, err := credential.ParseEndpoint(filled)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(f.URL, tenantPlaceholder) {
		values := u.Query()
		values.Set("tenant", string(tenant))
		u.RawQuery = values.Encode()
	}
	return u, nil
}

// pathOf is what follows scheme and host.
func pathOf(text string) string {
	_, rest, _ := strings.Cut(text, "://")
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		return rest[slash:]
	}
	return ""
}

// FetchError says that the application could not be asked for a credential, or had
// none that could be used.
type FetchError struct {
	// Status is the application's answer, 0 if there was none.
	Status int

	// Err is the cause if it is not the status. It holds no secret.
	Err error
}

func (e *FetchError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the application answered %d when it was asked for the credential", e.Status)
	}
	return fmt.Sprintf("the application was asked for the credential: %v", e.Err)
}

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// Is makes an application that does not answer a store that does not.
func (e *FetchError) Is(target error) bool {
	return target == credential.ErrUnavailable && !errors.Is(e.Err, credential.ErrInvalid)
}

// Ask gets the tenant's credential from the application. Errors:
// [credential.ErrNotFound], else a [FetchError].
func (f *Fetch) Ask(ctx context.Context, p *Provider, tenant credential.Tenant) ([]byte, error) {
	u, err := f.address(p.Name, tenant)
	if err != nil {
		return nil, &FetchError{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, &FetchError{Err: errors.New("cannot make the request")}
	}
	maps.Copy(req.Header, f.Header)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set(HeaderTenant, string(tenant))
	res, err := roundTrip(f.transport, req)
	if err != nil {
		return nil, &FetchError{Err: err}
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent, http.StatusNotFound, http.StatusGone:
		readSome(res)
		return nil, credential.ErrNotFound
	default:
		readSome(res)
		return nil, &FetchError{Status: res.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, credential.MaxSize+1))
	switch {
	case err != nil:
		return nil, &FetchError{Err: withoutURL(err)}
	case len(body) > credential.MaxSize:
		return nil, &FetchError{Err: fmt.Errorf("%w: larger than %d bytes", credential.ErrInvalid, credential.MaxSize)}
	}
	return body, nil
}
