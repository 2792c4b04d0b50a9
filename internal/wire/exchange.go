package wire

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"

	"golang.org/x/net/http/httpguts"
)

// Coordinator is what of [refresh.Coordinator] an exchange needs.
type Coordinator interface {
	// Refresh returns a credential other than the rejected one, or says why there
	// is none: [refresh.ErrReauthorizationRequired], [refresh.ErrUnchanged] or
	// anything else for "not now". It goes on when ctx ends, without the caller.
	Refresh(ctx context.Context, p *refresh.Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error)

	// Rejected and Accepted report what the upstream said to a refreshed credential.
	Rejected(p *refresh.Provider, tenant credential.Tenant, cred *credential.Credential)
	Accepted(p *refresh.Provider, tenant credential.Tenant, cred *credential.Credential)
}

// Exchange is one client's request on its way through the proxy: all that
// [Transport] needs to authenticate it, resolved beforehand, so that nothing of
// ours can fail there. It is made by the handler, found in the context of the
// requests that are made for it, one after the other, and closed by the handler.
type Exchange struct {
	Tenant      credential.Tenant
	Provider    *refresh.Provider
	Coordinator Coordinator

	// Credential is what the request is sent with, Values what the provider's
	// scheme makes of it. A refresh replaces both.
	Credential *credential.Credential
	Values     *scheme.Values

	// Prepare is how Values come from a credential; nil: by the provider's scheme
	// alone. Its error says that the credential is of no use.
	Prepare func(*credential.Credential) (*scheme.Values, error)

	// Fresh says that Credential comes from a refresh just made, so that its
	// rejection is one of a fresh token.
	Fresh bool

	// Hosts says where the credential may be sent; nil: anywhere.
	Hosts HostList

	// RefreshOn says to which answers the credential is refreshed; nil: to 401. An
	// answer whose challenge is insufficient_scope never counts.
	RefreshOn func(status int, header http.Header) bool

	// Limits bounds the recording of the body.
	Limits Limits

	// Retries says that the proxy may send the request again even after it was
	// given an answer (lb_retry_match on a response). The recording then goes on
	// until Close; without it, it ends with the first answer that is passed on.
	Retries bool

	// Logger takes what operators should know; nil: nobody does.
	Logger *slog.Logger

	begun   bool
	body    *recording  // nil: there is no body
	trailer http.Header // as the client announced it
	filled  http.Header // the map that the client's body fills when it ends

	replayed bool // the one replay is used
	onTrial  bool // Credential is fresh, and the upstream has not said yet what it thinks of it
}

type exchangeKey struct{}

// NewContext returns a context for the requests made for x.
func NewContext(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// Close ends the recording of the body and frees it. It is called when the proxy is
// done with the request. A transport that still reads the body, for an attempt long
// given up, is told that the body is closed; Close does not wait for it.
func (x *Exchange) Close() {
	if x.body != nil {
		x.body.close()
	}
}

// begin takes the body from the first request made for x. That of a later one is
// the same, by then read in part.
func (x *Exchange) begin(req *http.Request) {
	if x.begun {
		return
	}
	x.begun, x.onTrial = true, x.Fresh
	x.trailer = req.Trailer.Clone()
	if req.Body == nil || req.Body == http.NoBody {
		return
	}
	logger := x.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	x.filled = req.Trailer
	x.body = newRecording(req.Body, &x.filled, req.ContentLength, isMessage(req), x.Limits, logger)
}

// isMessage reports whether the body of req is a message with an end, and not the
// client's side of a tunnel.
func isMessage(req *http.Request) bool {
	return req.Method != http.MethodConnect && !httpguts.HeaderValuesContainsToken(req.Header["Connection"], "Upgrade")
}

// request returns what is sent in one attempt at req: a copy, authenticated, with
// the body from the start, that shares nothing with req that anybody changes.
func (x *Exchange) request(req *http.Request) *http.Request {
	out := new(http.Request)
	*out = *req
	out.Header = make(http.Header, len(req.Header)+2)
	maps.Copy(out.Header, req.Header)
	out.URL = new(url.URL)
	*out.URL = *req.URL
	out.Trailer = x.trailer.Clone()
	out.Body, out.GetBody = nil, nil
	values := x.Values
	values.Apply(out)
	if x.body == nil {
		return out
	}

	var clean func(http.Header)
	if out.Trailer != nil {
		clean = func(trailer http.Header) { cleanTrailer(trailer, values) }
	}
	out.Body = x.body.restart(out.Trailer, clean)
	if x.body.isWhole() {
		out.GetBody = func() (io.ReadCloser, error) {
			if !x.body.isWhole() {
				return nil, errGone
			}
			return x.body.open(out.Trailer, clean), nil
		}
	}
	return out
}

// cleanTrailer takes out of the client's trailer what values would take out of a
// request. The client need not have announced it.
func cleanTrailer(trailer http.Header, values *scheme.Values) {
	values.Apply(&http.Request{URL: new(url.URL), Header: http.Header{}, Trailer: trailer})
}
