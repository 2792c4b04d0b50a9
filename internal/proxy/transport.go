// Package proxy is the last step of a request before it leaves: it authenticates
// what is sent, and when the upstream refuses the credential, has it refreshed and
// sends the request once more.
package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Transport authenticates the requests that are made for an [Exchange].
//
// Its errors are those of Base, and the cancellation of the request's context: a
// reverse proxy counts errors against the health of its upstream and may try
// another. What must be refused is answered.
//
// The requests given to it are not changed, but for [TenantNames.Headers] and for what Base
// does to the URL, and their bodies not closed: those belong to the server that took
// them. A response names the request as it was given, not as it was sent.
type Transport struct {
	// Base sends the requests.
	Base http.RoundTripper

	// DialedHost returns the host that a request goes to: the TLS server name if
	// there is one, else the name or address that is dialled; with an optional
	// port, without which only entries of the provider's hosts without one match. If
	// nil, it is the host of the URL.
	DialedHost func(*http.Request) string

	// Encrypts reports whether a request goes out by TLS; nil: none does.
	Encrypts func(*http.Request) bool

	// Apart returns a transport with connections of its own, that are made with a TLS
	// configuration made of Base's. Nil: Base cannot do that.
	Apart func(configure func(*tls.Config) *tls.Config) (ApartTransport, error)

	apart apart
}

// Send sends req with the credential of x. If the upstream refuses it, a scheme that can
// answer the challenge has it sent once more; else, or after that, the credential is
// refreshed and req is sent once more, each once for all requests of the exchange. If the
// upstream asks to wait, req may be sent once more after that. The
// last answer is returned whatever it is. If the credential cannot be refreshed, or the
// request not be sent again, the answer so far is returned as it came, with [HeaderError]
// or [HeaderReplay] added.
//
// A request without an exchange (an active health check), or for one that is closed,
// passes through untouched.
func (t *Transport) Send(req *http.Request, x *Exchange) (*http.Response, error) {
	if x == nil || x.closed {
		return t.Base.RoundTrip(req)
	}
	if err := t.checkHost(req, x.Settings); err != nil {
		if x.Logger != nil {
			x.Logger.Warn("a request was not sent", "error", err, "provider", x.Provider.Name, "upstream", req.URL.Host, "host", req.Host)
		}
		return hostNotAllowed(req), nil
	}
	for _, name := range x.NamedBy.Headers {
		delete(req.Header, name)
	}
	x.begin(req)
	res, err := t.attempt(req, x)
	if err == nil {
		res, err = t.settle(req, res, x)
	}
	if err == nil && x.Provider.RetryAfter != nil {
		res, err = t.heed(req, res, x)
	}
	if err != nil {
		return nil, err
	}
	if x.body != nil && !x.Retries {
		x.body.Stop()
	}
	res.Request = req // Not the one with the secret.
	x.guardAnswer(res)
	return res, nil
}

// settle takes the answer to an attempt. If that refuses the credential, req is sent once
// more with another, or with what answers the challenge.
func (t *Transport) settle(req *http.Request, res *http.Response, x *Exchange) (*http.Response, error) {
	if x.answersChallenge(res) {
		var err error
		if res, err = t.replay(req, bufferResponse(res), x); err != nil {
			return nil, err
		}
	}
	x.reportOutcome(res)
	if !x.replayed && x.refused(res) {
		return t.refresh(req, res, x)
	}
	return res, nil
}

// attempt sends req once.
func (t *Transport) attempt(req *http.Request, x *Exchange) (*http.Response, error) {
	out, err := x.request(req)
	if err != nil {
		return x.notAuthenticated(req, err)
	}
	base, err := t.transportFor(x)
	if err != nil {
		return x.notAuthenticated(req, err)
	}
	x.forms = x.formsSent(out)
	res, err := base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	x.guardHeader(res.Header, x.forms)
	x.guardTrailers(res, x.forms)
	if x.ScrubBodies {
		scrubBody(res, x.forms)
	}
	return res, nil
}

var (
	errHost  = errors.New("its host is not among allowed_hosts, or without them not the upstream's")
	errClear = errors.New("its upstream is not https: insecure_http would allow that")
)

// checkHost checks that both the host that req goes to and the one that it names may see
// the credential, and nobody on the way. A name without a port is taken to be at the port
// that is dialled.
func (t *Transport) checkHost(req *http.Request, s *Settings) error {
	hosts := s.Provider.Hosts
	if hosts == nil {
		hosts = s.Hosts
	}
	if hosts == nil && !s.TLSOnly {
		return nil
	}
	dialed, named := req.URL.Host, req.Host
	if t.DialedHost != nil {
		dialed = t.DialedHost(req)
	}
	if named == "" {
		named = req.URL.Host
	}
	last := s.lastAllowed.Load()
	switch {
	case last != nil && last.dialed == dialed && last.named == named:
		return nil
	case !hosts.AllowsBoth(dialed, named):
		return errHost
	case s.TLSOnly && !isThisMachine(dialed) && (t.Encrypts == nil || !t.Encrypts(req)):
		return errClear
	}
	s.lastAllowed.Store(&destination{dialed: dialed, named: named})
	return nil
}

// isThisMachine reports whether what is sent to a host, or a socket, stays here.
func isThisMachine(dialed string) bool {
	name, _, err := net.SplitHostPort(dialed)
	if err != nil {
		name = dialed
	}
	return strings.HasPrefix(dialed, "unix/") || credential.IsLoopback(name)
}

// destination is where a request goes.
type destination struct{ dialed, named string }
