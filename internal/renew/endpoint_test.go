package renew_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// answerer answers a token request; nil means that there is no answer.
type answerer func(url.Values) *tokenrequest.Response

// endpoint is a token endpoint that does as a test says.
type endpoint struct {
	dialled  atomic.Int64
	asked    atomic.Int64 // token requests
	inFlight atomic.Int64 // now
	most     atomic.Int64 // at once

	mu     sync.Mutex
	answer answerer
}

// rotate answers canary-r1 with canary-a2 and canary-r2, and so on.
func rotate(form url.Values) *tokenrequest.Response {
	var n int
	if _, err := fmt.Sscanf(form.Get("refresh_token"), "canary-r%d", &n); err != nil {
		return status(400, `{"error":"invalid_grant"}`)
	}
	return status(200, fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d"}`, n+1, n+1))
}

func status(code int, body string) *tokenrequest.Response {
	if code == 0 {
		return nil
	}
	return &tokenrequest.Response{Status: code, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

func always(code int, body string) answerer {
	return func(url.Values) *tokenrequest.Response { return status(code, body) }
}

// slowly rotates after d.
func slowly(d time.Duration) answerer {
	return func(form url.Values) *tokenrequest.Response {
		time.Sleep(d)
		return rotate(form)
	}
}

func (e *endpoint) answers(answer answerer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) serve(req *http.Request) *tokenrequest.Response {
	e.asked.Add(1)
	e.most.Store(max(e.most.Load(), e.inFlight.Add(1)))
	defer e.inFlight.Add(-1)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil
	}
	e.mu.Lock()
	answer := e.answer
	e.mu.Unlock()
	return answer(form)
}

func (f *fleet) wantAsked(want int64) {
	f.t.Helper()
	if got := f.asked.Load(); got != want {
		f.t.Fatalf("%d token requests, want %d", got, want)
	}
}

// way is a process's way to the endpoint.
type way struct{ *process }

func (w way) Dial(context.Context, string, *tls.Config) (tokenrequest.Conn, error) {
	w.fleet.dialled.Add(1)
	if w.link.dead.Load() {
		return nil, &tokenrequest.Error{Reason: "cannot connect", Unspent: true, NoResponse: true}
	}
	c := &conn{process: w.process}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c, nil
}

type conn struct {
	*process
	ctx   context.Context
	close context.CancelFunc
}

func (c *conn) Close() { c.close() }

func (c *conn) Send(_ context.Context, req *http.Request, limits tokenrequest.Limits) (*tokenrequest.Response, error) {
	if c.ctx.Err() != nil || !limits.MaySend() {
		return nil, &tokenrequest.Error{Reason: "the request was not sent", Unspent: true}
	}
	at := time.Now()
	listening, cancel := context.WithDeadline(c.ctx, limits.Start.Add(limits.Listen))
	defer cancel()
	answered := make(chan *tokenrequest.Response, 1)
	go func() { answered <- c.fleet.serve(req) }()
	select {
	case answer := <-answered:
		if answer != nil && listening.Err() == nil {
			answer.At = at
			return answer.AnswerTo(req), nil
		}
	case <-listening.Done():
	}
	return nil, &tokenrequest.Error{Reason: "no answer", NoResponse: true}
}

// unreachable is an endpoint that nobody gets to.
type unreachable struct{}

func (unreachable) Dial(context.Context, string, *tls.Config) (tokenrequest.Conn, error) {
	return nil, &tokenrequest.Error{Reason: "cannot connect", Unspent: true, NoResponse: true}
}

// counting is one that nobody gets to, which tells when somebody tried.
type counting struct{ tries *[]time.Time }

func (c counting) Dial(ctx context.Context, endpoint string, config *tls.Config) (tokenrequest.Conn, error) {
	*c.tries = append(*c.tries, time.Now())
	return unreachable{}.Dial(ctx, endpoint, config)
}
