package refresh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

const (
	// spendDeadline is how long a refresh may take from the beginning of its claim
	// to the end of the token endpoint's answer.
	spendDeadline = 10 * time.Second

	// connectTimeout bounds the way to the token endpoint, its TLS included.
	connectTimeout = 5 * time.Second

	// lastRead is how long a process that was stopped past its deadline has to read
	// the answer that came meanwhile.
	lastRead = time.Second
)

// newTransport makes one that sends a request once: on a connection of its own,
// since one that was idle may be gone, and over HTTP/1.1, since HTTP/2 repeats
// what a server did not take. Its connections are behind g.
func newTransport(g *gate) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	// Connecting goes on without the request that it is for, so it has its own bounds.
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSHandshakeTimeout:    connectTimeout,
		DisableKeepAlives:      true,
		Protocols:              protocols,
		MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &gatedConn{conn, g}, nil
		},
	}
}

// endpoint sends token requests.
type endpoint struct {
	transport http.RoundTripper // nil: a new one for each request
}

// request is a token request whose connection is up and that is not sent yet.
type request struct {
	gate      gate
	transport http.RoundTripper
	cancel    context.CancelFunc
	connected chan struct{} // closed when the connection is up
	proceed   chan struct{} // closed when the request may be sent
	done      chan struct{} // closed when answer and err are set
	once      sync.Once

	started bool // the transport was asked
	answer  *answer
	err     error
}

// connect brings the connection for one token request with the refresh token grant
// (RFC 6749 section 6) up. The caller calls send at most once, and abandon in any
// case.
func (e *endpoint) connect(o *scheme.OAuth2, id, secret, refreshToken string) (*request, *problem) {
	// Detached from every request: an answer that nobody waits for has tokens in
	// it all the same.
	ctx, cancel := context.WithCancel(context.Background())
	r := &request{
		transport: e.transport,
		cancel:    cancel,
		connected: make(chan struct{}),
		proceed:   make(chan struct{}),
		done:      make(chan struct{}),
	}
	if r.transport == nil {
		r.transport = newTransport(&r.gate)
	}
	timeout := time.AfterFunc(connectTimeout, cancel)
	defer timeout.Stop()
	go func() {
		defer close(r.done)
		r.err = r.ask(ctx, o, id, secret, refreshToken)
	}()
	select {
	case <-r.connected:
		return r, nil
	case <-r.done:
		cancel()
		return nil, notConnected(r.err)
	}
}

// send lets the request go, unless its deadline has passed, and returns the
// endpoint's answer.
func (r *request) send(d deadline) (*answer, *problem) {
	r.gate.arm(d)
	timeout := time.AfterFunc(d.left(), func() {
		// A process that was stopped wakes up to its deadline and its answer at once.
		if overslept := -d.left(); overslept > lastRead/4 {
			select {
			case <-r.done:
			case <-time.After(lastRead):
			}
		}
		r.cancel()
	})
	defer timeout.Stop()
	close(r.proceed)
	<-r.done
	if sent := r.gate.close(); r.answer == nil {
		return nil, noAnswer(r.err, sent)
	}
	return r.answer, nil
}

// abandon ends the request. If it was not sent it never will be.
func (r *request) abandon() {
	r.gate.close()
	r.cancel()
	<-r.done
}

// ask makes the request. What x/oauth2 makes of the answer is of no use: it drops
// tokens for oddities beside them, and its errors quote the answer. RoundTrip has
// kept it raw.
func (r *request) ask(ctx context.Context, o *scheme.OAuth2, id, secret, refreshToken string) error {
	client := &http.Client{
		Transport:     r,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	params := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	for name, value := range o.Params {
		params.Set(name, value)
	}
	config := clientcredentials.Config{
		ClientID:       id,
		ClientSecret:   secret,
		TokenURL:       o.TokenURL,
		Scopes:         o.Scopes,
		EndpointParams: params,
		// Never oauth2.AuthStyleAutoDetect, which asks twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	if o.ClientAuth == scheme.ClientAuthBasic {
		config.AuthStyle = oauth2.AuthStyleInHeader
	}
	_, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	return err
}

var errSentOnce = errors.New("a token request is sent once")

// RoundTrip sends the request, once, and keeps its answer from the caller, who
// gets an empty one.
func (r *request) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.started {
		return nil, errSentOnce
	}
	r.started = true
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { r.hold(req.Context()) }}
	req = req.Clone(httptrace.WithClientTrace(req.Context(), trace))
	req.GetBody = nil // so that net/http cannot send it again
	req.Header.Set("Accept", "application/json")

	response, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	r.answer = &answer{
		status:      response.StatusCode,
		contentType: response.Header.Get("Content-Type"),
		retryAfter:  retryAfter(response.Header.Get("Retry-After"), time.Now()),
		body:        body[:min(len(body), maxAnswer)],
		cut:         err != nil || len(body) > maxAnswer,
	}
	response.Body = http.NoBody
	return response, nil
}

// hold keeps the request from being written until it may go. The transport calls
// it when the connection is up. One that is given by [Options] has no gate, and so
// counts as having sent the request from here on.
func (r *request) hold(ctx context.Context) {
	r.once.Do(func() { close(r.connected) })
	select {
	case <-r.proceed:
		if _, gated := r.transport.(*http.Transport); !gated && !r.gate.pass() {
			r.cancel()
		}
	case <-ctx.Done():
	}
}
