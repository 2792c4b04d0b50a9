package proxy

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Settings are what all exchanges of a handler have in common.
type Settings struct {
	Provider    *upstream.Provider
	Credentials *upstream.Credentials

	// Hosts are where the credential may be sent if the provider does not say so.
	Hosts hosts.List

	// TLSOnly keeps the credential from other machines that are spoken to in the clear.
	TLSOnly bool

	// NamedBy says by what requests name their tenant. The header fields are deleted from
	// the requests given to [Transport.Send].
	NamedBy TenantNames

	// PassCookies lets cookies pass, in both directions, where requests name their tenant:
	// the app then has to keep those of one tenant from another's requests.
	PassCookies bool

	// PassForwarded sends X-Forwarded-*, Forwarded and Via to hosts that are neither this
	// machine nor in a private network, too.
	PassForwarded bool

	// PassSecrets lets an upstream repeat, in an answer's header, what schemes have set in
	// the request.
	PassSecrets bool

	// ScrubBodies takes it out of answers' bodies, too.
	ScrubBodies bool

	// RefreshOn says to which answers the credential is refreshed; nil: to 401. An
	// answer whose challenge is insufficient_scope never counts.
	RefreshOn func(status int, header http.Header) bool

	// Limits bounds the recording of the body.
	Limits body.Limits

	// Retries says that the proxy may send the request again even after it was
	// given an answer (lb_retry_match on a response). The recording then goes on
	// until [Exchange.Close]; without it, it ends with the first answer that is
	// passed on.
	Retries bool

	// Logger takes what operators should know; nil: nobody does.
	Logger *slog.Logger

	// lastAllowed is where the last request went. As a rule the next one goes there, too.
	lastAllowed atomic.Pointer[destination]

	// lastNear is whether the last request's host was near.
	lastNear atomic.Pointer[nearness]

	// lastSecrets are what the last answer was looked through for.
	lastSecrets atomic.Pointer[secretForms]
}

// Exchange is one client's request on its way through the proxy: all that
// [Transport] needs to authenticate it, resolved beforehand, so that nothing of
// ours can fail there but for schemes that sign. It is made by the handler, given to [Transport.Send] with the
// requests that are made for it, one after the other, and closed by the handler.
type Exchange struct {
	*Settings // Not changed by anybody.

	Tenant credential.Tenant

	// Account is the tenant's, for the recording of the body. The exchange is closed before
	// what is in use of it is given back.
	Account budget.Account

	// Answer is the header of the client's answer, to which that of the upstream's is added;
	// nil: what there is to be added goes there.
	Answer http.Header

	// SentOnce says that the request is not to be sent again, whatever its answer.
	SentOnce bool

	// Opened is what the request is sent with. A refresh replaces it.
	upstream.Opened

	closed  bool
	begun   bool
	body    *body.Recording // nil: there is no body
	bodyErr error           // why a scheme could not read it: the client's
	trailer http.Header     // as the client announced it
	filled  http.Header     // the map that the client's body fills when it ends

	secrets [2]string // room for what most schemes set
	added   [2]string // room for what most answers are told to say
	forms   []string  // what is not passed on of the attempt's answer

	challenged  bool // schemes were asked whether they can answer a challenge
	replayed    bool // the one replay after a renewal is used
	waited      bool // the one wait that an upstream may ask for is used
	unconfirmed bool // Credential is fresh, and the upstream has not said yet what it thinks of it
}

// String keeps an exchange out of logs.
func (x *Exchange) String() string { return "[exchange]" }

// GoString keeps an exchange out of logs.
func (x *Exchange) GoString() string { return x.String() }

// Close ends the exchange, and the recording of the body, and frees it. It is called when
// the proxy is done with the request. A transport that still reads the body, for an attempt long
// given up, is told that the body is closed; Close does not wait for it.
func (x *Exchange) Close() {
	x.closed = true
	if x.body != nil {
		x.body.Close()
	}
}

// begin takes the body from the first request made for x. That of a later one is
// the same, by then read in part.
func (x *Exchange) begin(req *http.Request) {
	if x.begun {
		return
	}
	x.begun, x.unconfirmed, x.waited = true, x.Fresh, x.Waited
	none := req.Body == nil || req.Body == http.NoBody
	if len(req.Trailer) > 0 || !none && req.ContentLength <= 0 {
		x.trailer = req.Trailer.Clone() // Others come with a body that has a length, and are not sent.
	}
	if none {
		return
	}
	logger := x.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	x.filled = req.Trailer
	limits := x.Limits
	limits.Account = x.Account
	x.body = body.New(req.Body, &x.filled, req.ContentLength, isMessage(req), limits, logger)
}

// isMessage reports whether the body of req is a message with an end, and not the
// client's side of a tunnel. A request to change protocols is a message until it is
// answered by 101 (RFC 9110 section 7.8): Java's client makes one of each that it sends.
func isMessage(req *http.Request) bool { return req.Method != http.MethodConnect }

var errElsewhere = errors.New("a scheme sends the request to another host")

// request returns what is sent in one attempt at req: a copy, authenticated, with
// the body from the start. It shares nothing with req that is changed here, or that
// a transport may read when RoundTrip has returned. The error is a scheme's.
func (x *Exchange) request(req *http.Request) (*http.Request, error) {
	out, names := new(http.Request), x.Provider.Names()
	*out = *req
	out.Header = x.sentHeader(req)
	query := withoutParameters(withoutParameters(req.URL.RawQuery, names.Query), x.NamedBy.Parameters)
	if x.Provider.ChangesURL() || query != req.URL.RawQuery {
		out.URL = new(url.URL)
		*out.URL = *req.URL
		out.URL.RawQuery = query
	}
	out.Trailer = x.trailer.Clone()
	x.cleanTrailer(out.Trailer)
	out.Body, out.GetBody = nil, nil
	for _, a := range x.Authenticators {
		if err := a.Authenticate(out, (*signedBody)(x)); err != nil {
			return nil, err
		}
	}
	if out.Host != req.Host || out.URL.Host != req.URL.Host || out.URL.Scheme != req.URL.Scheme {
		return nil, errElsewhere // the host was looked at before
	}
	if x.body == nil {
		return out, nil
	}
	if x.SentOnce && !x.Retries {
		x.body.Stop() // what had to be signed is
	}

	var clean func(http.Header) // The client need not have announced what it sends.
	if out.Trailer != nil {
		own := x.ownTrailer(out.Trailer)
		clean = func(trailer http.Header) {
			x.cleanTrailer(trailer)
			maps.Copy(trailer, own)
		}
	}
	out.Body = x.body.Restart(out.Trailer, clean)
	if x.body.IsWhole() {
		out.GetBody = func() (io.ReadCloser, error) {
			if !x.body.IsWhole() {
				return nil, body.ErrGone
			}
			return x.body.Open(out.Trailer, clean), nil
		}
	}
	return out, nil
}

// ownTrailer returns what schemes set in trailer, which the client's body fills anew when
// it ends.
func (x *Exchange) ownTrailer(trailer http.Header) (own http.Header) {
	names := x.Provider.Names().Header
	for key, values := range trailer {
		if equalsAny(key, names) {
			if own == nil {
				own = make(http.Header)
			}
			own[key] = values
		}
	}
	return own
}

// cleanTrailer deletes from trailer what is not sent on in a header.
func (x *Exchange) cleanTrailer(trailer http.Header) {
	names := x.Provider.Names().Header
	for key := range trailer {
		if equalsAny(key, names) || equalsAny(key, x.NamedBy.Headers) || key == "Cookie" && !x.NamedBy.Fixed || isForwarding(key) {
			delete(trailer, key)
		}
	}
}
