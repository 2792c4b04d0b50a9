package simulation

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// server is the authorization server, and the upstream that takes its tokens.
type server struct {
	world *world

	mu     sync.Mutex
	issued map[string]int                  // by account, to name tokens
	access map[string]map[string]time.Time // by account: until when it lives
	spent  map[string]time.Time            // refresh tokens
}

func newServer(w *world) *server {
	return &server{world: w, issued: make(map[string]int), access: make(map[string]map[string]time.Time), spent: make(map[string]time.Time)}
}

// grant issues a new pair, to a person if spent is empty.
func (s *server) grant(t *tenant, spent string, sent *sending) (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued[t.name]++
	n := s.issued[t.name]
	access, refresh = fmt.Sprintf("%s%s-a%d", canary, t.name, n), fmt.Sprintf("%s%s-r%d", canary, t.name, n)
	if s.access[t.name] == nil || !t.keepsOld {
		s.access[t.name] = make(map[string]time.Time)
	}
	s.access[t.name][access] = time.Now().Add(t.lives)
	if spent != "" && !t.rotates() {
		refresh = spent
	} else {
		s.world.ledger.grants(t.name, spent, refresh, sent)
	}
	return access, refresh
}

// accepts is the upstream.
func (s *server) accepts(t *tenant, access string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.access[t.name][access])
}

// expire ends the life of all access tokens of a tenant.
func (s *server) expire(t *tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access[t.name])
}

// takes reports whether a refresh token still counts, and spends it.
func (s *server) takes(t *tenant, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, spent := s.spent[token]
	switch {
	case !strings.HasPrefix(token, canary+t.name+"-r"):
		return false
	case !t.rotates():
	case !spent:
		s.spent[token] = time.Now()
	case t.grace == 0 || time.Since(at) >= t.grace:
		return false
	}
	return true
}

// reply is what the server makes of a request.
type reply struct {
	unlooked   int           // a status without a look at the token, 0: it looks
	retryAfter time.Duration // with that
	drops      bool          // nothing arrives
	arrives    time.Duration // how long the request is on its way
	fails      int           // a status after the token is spent
	loses      bool          // the answer
	answers    time.Duration // how long the answer is on its way
	odd        int           // how the answer looks
	cut        int           // bytes of the answer that get there; 0: all
}

func (w *world) replyTo(p *process, t *tenant) reply {
	if _, serve := w.plot(); serve != nil {
		return serve(p, t)
	}
	if w.isCalm() {
		return reply{}
	}
	r := w.dice.at("serve " + p.slotName() + " " + t.name)
	happens := func(chance float64) bool { return r.Float64() < chance }
	f := &w.profile
	made := reply{answers: between(r, 0, 200*time.Millisecond)}
	if happens(f.slowEndpoint) {
		made.answers = between(r, 0, 9*time.Second)
	}
	switch {
	case happens(f.arrivesLate):
		made.arrives = between(r, 0, 20*time.Second)
	case happens(f.answersLate):
		made.answers = choose(r, between(r, 0, 12*time.Second), between(r, 10*time.Second, 14*time.Second), between(r, 0, 70*time.Second))
	}
	switch {
	case happens(f.unlooked):
		made.unlooked = choose(r, 429, 503, 401, 400)
		made.retryAfter = between(r, 0, 3*time.Second)
	case happens(f.dropsBefore):
		made.drops = true
	case happens(f.serverError):
		made.fails = choose(r, 500, 502, 504)
	case happens(f.dropsAfter):
		made.loses = true
	case happens(f.odd):
		made.odd = 1 + r.IntN(oddities)
	case happens(f.cut):
		made.cut = 1 + r.IntN(150)
	}
	return made
}

// dialer is a process's way to the token endpoint.
type dialer struct{ *process }

// connection is one that is up.
type connection struct {
	*process
	closed context.Context
	close  context.CancelFunc
}

func (d dialer) Dial(ctx context.Context, _ string, _ *tls.Config) (tokenrequest.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := d.meet(ctx, edge{op: "connect"})
	if err != nil || f.kind == fail {
		return nil, &tokenrequest.Error{Reason: "cannot connect", NoResponse: true, Unspent: true}
	}
	c := &connection{process: d.process}
	c.closed, c.close = context.WithCancel(context.Background())
	return c, nil
}

func (c *connection) Close() { c.close() }

func notSent() error { return &tokenrequest.Error{Reason: "the request was not sent", Unspent: true} }

func noResponse() error { return &tokenrequest.Error{Reason: "no answer", NoResponse: true} }

func (c *connection) Send(_ context.Context, req *http.Request, limits tokenrequest.Limits) (*tokenrequest.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	token := form.Get("refresh_token")
	tenant := c.world.tenantOf(token)
	if _, err := c.meet(c.closed, edge{op: "send", account: tenant.name}); err != nil || !limits.MaySend() {
		return nil, notSent()
	}
	return c.exchange(req, tenant, token, limits)
}

// exchange is what happens once the first byte has left.
func (c *connection) exchange(req *http.Request, tenant *tenant, token string, limits tokenrequest.Limits) (*tokenrequest.Response, error) {
	w, at := c.world, time.Now()
	ctx, cancel := context.WithDeadline(c.closed, limits.Start.Add(limits.Listen))
	defer cancel()
	sent := w.ledger.sends(c.name, tenant.name, token)
	r := w.replyTo(c.process, tenant)
	arrived := make(chan answer, 1)
	w.late.Go(func() { // whatever becomes of the sender
		w.pause(r.arrives)
		arrived <- w.server.serve(tenant, token, sent, r)
		w.pause(r.answers)
	})
	var a answer
	select {
	case a = <-arrived:
		c.sleep(ctx, r.answers)
	case <-ctx.Done():
	case <-c.died:
	}
	// A process that was stopped finds the answer when it goes on, and that it is
	// too late: either may come first.
	gone := ctx.Err() != nil && c.stoppedFor() <= 0
	if a.text == "" || gone {
		if ctx.Err() != nil && c.closed.Err() == nil {
			w.ledger.givesUp(sent)
		}
		w.ledger.silent(sent)
		c.trace("%s: no answer to %s (%+v)", tenant.name, token, r)
		_ = c.runs()
		return nil, noResponse()
	}
	_, err := c.meet(context.WithoutCancel(ctx), edge{op: "answered", account: tenant.name})
	if err == nil && ctx.Err() != nil && !w.isPlayed() && w.dice.at("too late "+c.slotName()).IntN(2) == 0 {
		err = ctx.Err()
	}
	if err != nil {
		w.ledger.silent(sent)
		c.trace("%s: the answer to %s is lost: %v", tenant.name, token, err)
		return nil, noResponse()
	}
	w.ledger.hears(sent, r.unlooked != 0, a.gives(sent.child))
	c.trace("%s: %d %q (%+v)", tenant.name, a.status, a.text, r)
	header := http.Header{"Content-Type": {a.contentType}}
	if r.retryAfter > 0 {
		header.Set("Retry-After", fmt.Sprint(int(r.retryAfter.Seconds())))
	}
	return (&tokenrequest.Response{Status: a.status, Header: header, Body: []byte(a.text), Truncated: a.cut, At: at}).AnswerTo(req), nil
}

// answer is what the server sends; no text means nothing.
type answer struct {
	status      int
	contentType string
	text        string
	cut         bool
}

// gives reports whether a refresh token is in the answer, whole.
func (a answer) gives(child string) bool {
	return child != "" && (strings.Contains(a.text, `"`+child+`"`) || strings.Contains(a.text, "="+child+"&") || strings.HasSuffix(a.text, "="+child) && !a.cut)
}

// serve is the server's part.
func (s *server) serve(t *tenant, token string, sent *sending, r reply) answer {
	const object = "application/json"
	switch {
	case r.drops:
		return answer{}
	case r.unlooked >= 500, r.unlooked == 429:
		return answer{r.unlooked, "text/html", "<p>Later.</p>", false}
	case r.unlooked != 0:
		return answer{r.unlooked, object, `{"error":"invalid_client"}`, false}
	case !s.takes(t, token):
		return answer{400, object, `{"error":"invalid_grant"}`, false}
	}
	access, refresh := s.grant(t, token, sent)
	switch {
	case r.fails != 0:
		return answer{r.fails, "text/html", "<p>Oops.</p>", false}
	case r.loses:
		return answer{}
	}
	a := answer{200, object, t.response(access, refresh, token), false}
	if r.odd > 0 {
		a = oddly(r.odd, a, access, refresh)
	}
	if r.cut > 0 && r.cut < len(a.text) {
		a.text, a.cut = a.text[:r.cut], true
	}
	return a
}

// response is the usual answer.
func (t *tenant) response(access, refresh, spent string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"access_token":%q,"token_type":"Bearer"`, access)
	if t.tells {
		fmt.Fprintf(&b, `,"expires_in":%d`, int(t.lives.Seconds()))
	}
	if refresh != spent || !t.silentLast {
		fmt.Fprintf(&b, `,"refresh_token":%q`, refresh)
	}
	return b.String() + `,"scope":"all"}`
}

const oddities = 7

// oddly is an answer that has tokens all the same.
func oddly(n int, a answer, access, refresh string) answer {
	switch n {
	case 1:
		a.text = fmt.Sprintf(`{"access_token":%q,"expires_in":0.5,"refresh_token":%q}`, access, refresh)
	case 2:
		a.text = fmt.Sprintf(`{"access_token":%q,"expires_in":"","refresh_token":%q}`, access, refresh)
	case 3:
		a.contentType = "text/plain"
		a.text = url.Values{"access_token": {access}, "refresh_token": {refresh}}.Encode()
	case 4:
		a.text = "\xef\xbb\xbf" + fmt.Sprintf(`{"refresh_token":%q,"access_token":%q}`, refresh, access)
	case 5:
		a.text = fmt.Sprintf(`{"refresh_token":%q}`, refresh)
	case 6:
		a.text = fmt.Sprintf(`{"error":"server_error","access_token":%q,"refresh_token":%q}`, access, refresh)
	case 7:
		a.status = http.StatusCreated
	}
	return a
}

// pause waits, unless the faults are over.
func (w *world) pause(d time.Duration) { wait(d, w.calm, nil, nil) }
