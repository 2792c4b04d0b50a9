package simulation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"
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
	switch {
	case happens(f.arrivesLate):
		made.arrives = between(r, 0, 20*time.Second)
	case happens(f.answersLate):
		made.answers = between(r, 0, 12*time.Second)
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

// transport is a process's way to the token endpoint.
type transport struct{ *process }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	w, ctx := t.world, req.Context()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	token := form.Get("refresh_token")
	tenant := w.tenantOf(token)
	f, err := t.meet(ctx, edge{op: "connect", account: tenant.name})
	switch {
	case err != nil:
		return nil, err
	case f.kind == fail:
		return nil, errLost
	}
	httptrace.ContextClientTrace(ctx).GotConn(httptrace.GotConnInfo{})
	switch {
	case t.isDead():
		return nil, errDead
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return t.exchange(req, tenant, token)
}

// exchange is what happens once the first byte has left.
func (t transport) exchange(req *http.Request, tenant *tenant, token string) (*http.Response, error) {
	w, ctx := t.world, req.Context()
	sent := w.ledger.sends(t.name, tenant.name, token)
	r := w.replyTo(t.process, tenant)
	arrived := make(chan answer, 1)
	w.late.Go(func() { // whatever becomes of the sender
		w.pause(r.arrives)
		arrived <- w.server.serve(tenant, token, sent, r)
		w.pause(r.answers)
	})
	var a answer
	select {
	case a = <-arrived:
		t.sleep(ctx, r.answers)
	case <-ctx.Done():
	case <-t.died:
	}
	// A process that was stopped finds the answer when it goes on, and that it is
	// too late: either may come first.
	gone := ctx.Err() != nil && t.stoppedFor() <= 0
	if a.text == "" || gone {
		w.ledger.silent(sent)
		t.trace("%s: no answer to %s (%+v)", tenant.name, token, r)
		if err := t.runs(); err != nil {
			return nil, err
		}
		return nil, errLost
	}
	_, err := t.meet(context.WithoutCancel(ctx), edge{op: "answered", account: tenant.name})
	if err == nil && ctx.Err() != nil && !w.isPlayed() && w.dice.at("too late "+t.slotName()).IntN(2) == 0 {
		err = ctx.Err()
	}
	if err != nil {
		w.ledger.silent(sent)
		t.trace("%s: the answer to %s is lost: %v", tenant.name, token, err)
		return nil, err
	}
	w.ledger.hears(sent, r.unlooked != 0, a.gives(sent.child))
	t.trace("%s: %d %q (%+v)", tenant.name, a.status, a.text, r)
	header := http.Header{"Content-Type": {a.contentType}}
	if r.retryAfter > 0 {
		header.Set("Retry-After", fmt.Sprint(int(r.retryAfter.Seconds())))
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: a.body()}, nil
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

func (a answer) body() io.ReadCloser {
	var body io.Reader = strings.NewReader(a.text)
	if a.cut {
		body = io.MultiReader(body, brokenReader{})
	}
	return io.NopCloser(body)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

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
