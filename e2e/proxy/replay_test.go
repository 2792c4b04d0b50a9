package proxy

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
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A client that hangs up during the refresh loses nothing: the refresh goes on.
func TestClientHangsUpDuringTheRefresh(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		t.Run(proto, func(t *testing.T) {
			w := w.Within(t)
			tenant := strings.ReplaceAll("impatient-"+proto, "/", "-")
			w.SeedExpired(tenant)
			asked, gate := make(chan struct{}), make(chan struct{})
			w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
				return authserver.Behaviour{Before: func() { close(asked); <-gate }}
			})
			defer w.Auth.Play(nil)

			ctx, hangUp := context.WithCancel(w.Ctx)
			gone := make(chan error)
			go func() {
				_, err := w.Send(ctx, world.Request{Proto: proto, Tenant: tenant, ID: tenant, Body: []byte("never mind")})
				gone <- err
			}()
			<-asked
			hangUp()
			if err := <-gone; err == nil {
				t.Fatal("the client got an answer")
			}
			close(gate)
			w.Settled(tenant)

			again := world.Request{Proto: proto, Tenant: tenant, ID: tenant + " again", Body: []byte("again")}
			w.Check(w.Delivered(again, w.Must(again)))
			if got := w.Auth.Of(tenant); len(got) != 1 {
				t.Errorf("%d refreshes", len(got))
			}
			if got := len(w.API.Attempts(again.ID)); got != 1 {
				t.Errorf("%d attempts with the new token", got)
			}
		})
	}
}

// A body above replay_max_body is streamed, and sent once. The 401 says why.
func TestBodyAboveTheLimit(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Sites: []world.Site{{Handler: "replay_max_body 1MiB"}}})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%t", proto, chunked), func(t *testing.T) {
				w := w.Within(t)
				tenant := strings.ReplaceAll(fmt.Sprintf("large-%s-%t", proto, chunked), "/", "-")
				w.SeedExpired(tenant)
				r := world.Request{Proto: proto, Tenant: tenant, ID: tenant, Body: world.RandomBytes(3 * world.MiB), Chunked: chunked}
				res := sendHalfway(w, r, 1, 2*world.MiB)
				if res.StatusCode != 401 || string(res.Content) != "attempt 1" {
					t.Errorf("status %d, %q", res.StatusCode, res.Content)
				}
				if got := res.Header.Get("Upstream-Auth-Replay"); got != "skipped; reason=body-too-large" {
					t.Errorf("Upstream-Auth-Replay: %q", got)
				}
				if got := w.API.Attempts(r.ID); len(got) != 1 || !got[0].Whole || got[0].Digest != upstream.DigestOf(r.Body) {
					t.Errorf("attempts: %+v", got)
				}

				w.Settled(tenant)
				r.ID += " again"
				w.Check(w.Delivered(r, w.Must(r)))
				if got := w.Auth.Of(tenant); len(got) != 1 {
					t.Errorf("%d refreshes", len(got))
				}

				w.Check(w.Auth.Expire(tenant))
				fits := world.Request{Proto: proto, Tenant: tenant, ID: tenant + " fits", Body: world.RandomBytes(world.MiB), Chunked: chunked}
				w.Check(w.Delivered(fits, w.Must(fits)))
			})
		}
	}
}

// sendHalfway sends r, but holds the end of its body back until one of the attempts
// to deliver it, the first being 1, has brought half bytes of it to the upstream:
// what waits for the whole body never answers.
func sendHalfway(w *world.World, r world.Request, attempt, half int) world.Response {
	w.Helper()
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(r.Body[:half+64*world.KiB])
		if err == nil {
			ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
			defer cancel()
			err = w.API.Await(ctx, r.ID, func(a []upstream.Attempt) bool {
				return len(a) >= attempt && a[attempt-1].Length >= int64(half)
			})
		}
		if err == nil {
			_, err = writer.Write(r.Body[half+64*world.KiB:])
		}
		_ = writer.CloseWithError(err)
	}()
	req, err := r.Build(w.Ctx)
	w.Check(err)
	req.Body = reader
	res, err := w.Clients[r.Proto].Transport.RoundTrip(req)
	w.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	w.Check(err)
	return world.Response{Response: res, Content: body}
}

// The second answer goes to the app, whatever it is; there is no third attempt.
func TestSecond401IsPassedOn(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	w.Seed("acme")
	const requests = 5
	for i := range requests {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("rejected ", i), Path: "/always-401", Body: []byte("question")}
		res := w.Expect(r, 401)
		attempts := len(w.API.Attempts(r.ID))
		if attempts > 2 || string(res.Content) != fmt.Sprint("attempt ", attempts) {
			t.Errorf("%d attempts, answer %q", attempts, res.Content)
		}
		if i == 0 && attempts != 2 {
			t.Errorf("no replay with a fresh token")
		}
		if !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("no challenge: %v", res.Header)
		}
	}
	if got := len(w.Auth.Of("acme")); got >= requests {
		t.Errorf("an upstream that rejects everything made us rotate %d times", got)
	}
	w.Settled("acme")
	good := world.Request{Tenant: "acme", ID: "accepted"}
	w.Check(w.Delivered(good, w.Must(good)))
}

// Not even yet another token, which somebody stored meanwhile, makes a third
// attempt.
func TestNoThirdAttempt(t *testing.T) {
	w := world.New(t)
	var attempts atomic.Int64
	stubborn := w.Serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		w.Seed("acme")
		rw.WriteHeader(http.StatusUnauthorized)
	})))
	w.Start(world.Configuration{Sites: []world.Site{{Upstream: stubborn}}})
	w.Seed("acme")
	w.Expect(world.Request{Tenant: "acme", ID: "acme", Body: []byte("question")}, 401)
	if got := attempts.Load(); got != 2 {
		t.Errorf("%d attempts", got)
	}
}

// A challenge that does not blame the token refreshes nothing.
func TestInsufficientScopeIsNotRefreshed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	w.Seed("acme")
	res := w.Expect(world.Request{Tenant: "acme", ID: "scope", Path: "/scope"}, 401)
	if !bytes.Contains(res.Content, []byte("another scope")) || !strings.Contains(res.Header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("answer %v %q", res.Header, res.Content)
	}
	if len(w.API.Attempts("scope")) != 1 || len(w.Auth.Ledger()) != 0 {
		t.Errorf("%d attempts, %d refreshes", len(w.API.Attempts("scope")), len(w.Auth.Ledger()))
	}
}
