package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// A client that hangs up during the refresh loses nothing: the refresh goes on.
func TestClientHangsUpDuringTheRefresh(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		t.Run(proto, func(t *testing.T) {
			w := w.within(t)
			tenant := strings.ReplaceAll("impatient-"+proto, "/", "-")
			w.seedExpired(tenant)
			asked, gate := make(chan struct{}), make(chan struct{})
			w.auth.Play(func(authserver.Entry) authserver.Behaviour {
				return authserver.Behaviour{Before: func() { close(asked); <-gate }}
			})
			defer w.auth.Play(nil)

			ctx, hangUp := context.WithCancel(w.ctx)
			gone := make(chan error)
			go func() {
				_, err := w.send(ctx, request{proto: proto, tenant: tenant, id: tenant, body: []byte("never mind")})
				gone <- err
			}()
			<-asked
			hangUp()
			if err := <-gone; err == nil {
				t.Fatal("the client got an answer")
			}
			close(gate)
			w.settled(tenant)

			again := request{proto: proto, tenant: tenant, id: tenant + " again", body: []byte("again")}
			w.check(w.delivered(again, w.must(again)))
			if got := w.auth.Of(tenant); len(got) != 1 {
				t.Errorf("%d refreshes", len(got))
			}
			if got := len(w.api.Attempts(again.id)); got != 1 {
				t.Errorf("%d attempts with the new token", got)
			}
		})
	}
}

// A body above replay_max_body is streamed, and sent once. The 401 says why.
func TestBodyAboveTheLimit(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{sites: []site{{handler: "replay_max_body 1MiB"}}})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%t", proto, chunked), func(t *testing.T) {
				w := w.within(t)
				tenant := strings.ReplaceAll(fmt.Sprintf("large-%s-%t", proto, chunked), "/", "-")
				w.seedExpired(tenant)
				r := request{proto: proto, tenant: tenant, id: tenant, body: randomBytes(3 * mib), chunked: chunked}
				res := w.sendHalfway(r, 1, 2*mib)
				if res.StatusCode != 401 || string(res.body) != "attempt 1" {
					t.Errorf("status %d, %q", res.StatusCode, res.body)
				}
				if got := res.Header.Get("Upstream-Auth-Replay"); got != "skipped; reason=body-too-large" {
					t.Errorf("Upstream-Auth-Replay: %q", got)
				}
				if got := w.api.Attempts(r.id); len(got) != 1 || !got[0].Whole || got[0].Digest != upstream.DigestOf(r.body) {
					t.Errorf("attempts: %+v", got)
				}

				w.settled(tenant)
				r.id += " again"
				w.check(w.delivered(r, w.must(r)))
				if got := w.auth.Of(tenant); len(got) != 1 {
					t.Errorf("%d refreshes", len(got))
				}

				w.check(w.auth.Expire(tenant))
				fits := request{proto: proto, tenant: tenant, id: tenant + " fits", body: randomBytes(mib), chunked: chunked}
				w.check(w.delivered(fits, w.must(fits)))
			})
		}
	}
}

// sendHalfway sends r, but holds the end of its body back until one of the attempts
// to deliver it, the first being 1, has brought half bytes of it to the upstream:
// what waits for the whole body never answers.
func (w *world) sendHalfway(r request, attempt, half int) response {
	w.Helper()
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(r.body[:half+64*kib])
		if err == nil {
			ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
			defer cancel()
			err = w.api.Await(ctx, r.id, func(a []upstream.Attempt) bool {
				return len(a) >= attempt && a[attempt-1].Length >= int64(half)
			})
		}
		if err == nil {
			_, err = writer.Write(r.body[half+64*kib:])
		}
		_ = writer.CloseWithError(err)
	}()
	req, err := r.build(w.ctx)
	w.check(err)
	req.Body = reader
	res, err := w.clients[r.proto].transport.RoundTrip(req)
	w.check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	w.check(err)
	return response{res, body}
}

// The second answer goes to the app, whatever it is; there is no third attempt.
func TestSecond401IsPassedOn(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	w.seed("acme")
	const requests = 5
	for i := range requests {
		r := request{tenant: "acme", id: fmt.Sprint("rejected ", i), path: "/always-401", body: []byte("question")}
		res := w.expect(r, 401)
		attempts := len(w.api.Attempts(r.id))
		if attempts > 2 || string(res.body) != fmt.Sprint("attempt ", attempts) {
			t.Errorf("%d attempts, answer %q", attempts, res.body)
		}
		if i == 0 && attempts != 2 {
			t.Errorf("no replay with a fresh token")
		}
		if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("no challenge: %v", res.Header)
		}
	}
	if got := len(w.auth.Of("acme")); got >= requests {
		t.Errorf("an upstream that rejects everything made us rotate %d times", got)
	}
	w.settled("acme")
	good := request{tenant: "acme", id: "accepted"}
	w.check(w.delivered(good, w.must(good)))
}

// Not even yet another token, which somebody stored meanwhile, makes a third
// attempt.
func TestNoThirdAttempt(t *testing.T) {
	w := newWorld(t)
	var attempts atomic.Int64
	stubborn := w.serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		w.seed("acme")
		rw.WriteHeader(http.StatusUnauthorized)
	})))
	w.start(configuration{sites: []site{{upstream: stubborn}}})
	w.seed("acme")
	w.expect(request{tenant: "acme", id: "acme", body: []byte("question")}, 401)
	if got := attempts.Load(); got != 2 {
		t.Errorf("%d attempts", got)
	}
}

// A challenge that does not blame the token refreshes nothing.
func TestInsufficientScopeIsNotRefreshed(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	w.seed("acme")
	res := w.expect(request{tenant: "acme", id: "scope", path: "/scope"}, 401)
	if !bytes.Contains(res.body, []byte("another scope")) || !strings.Contains(res.Header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("answer %v %q", res.Header, res.body)
	}
	if len(w.api.Attempts("scope")) != 1 || len(w.auth.Ledger()) != 0 {
		t.Errorf("%d attempts, %d refreshes", len(w.api.Attempts("scope")), len(w.auth.Ledger()))
	}
}
