package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// A client authenticates at the token endpoint as it is configured, and only so.
func TestClientAuthentication(t *testing.T) {
	for _, method := range []authserver.ClientAuth{authserver.Basic, authserver.Post, authserver.None} {
		t.Run(string(method), func(t *testing.T) {
			w := newWorldWith(t, authserver.Config{ClientAuth: method})
			c := configuration{public: method == authserver.None}
			if !c.public {
				c.oauth2 = "client_auth " + string(method)
			}
			w.start(c)
			w.seedExpired("acme")
			r := request{tenant: "acme", id: "acme", body: []byte("question")}
			w.check(w.delivered(r, w.must(r)))
			w.settled("acme")
		})
	}
}

// A token that expires soon is refreshed behind the back of a request, which still
// uses it and does not wait. The new one lives shorter than refresh_ahead; that is
// no reason to refresh it at once.
func TestRefreshAheadOfExpiry(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{oauth2: "refresh_ahead 2h", store: "cache_ttl 1ms"})
	w.seed("acme") // for an hour
	asked, gate := make(chan struct{}), make(chan struct{})
	w.auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { close(asked); <-gate }}
	})
	for i := range 3 {
		r := request{tenant: "acme", id: fmt.Sprint("old token ", i)}
		w.check(w.delivered(r, w.must(r)))
	}
	select {
	case <-asked:
	case <-w.ctx.Done():
		t.Fatal("no refresh")
	}
	before, err := w.stored("acme")
	w.check(err)
	close(gate)
	w.eventually(func() error {
		if after, err := w.stored("acme"); err != nil || after.AccessToken == before.AccessToken {
			return fmt.Errorf("no new token in Vault, %v", err)
		}
		return nil
	})
	for i := range 5 {
		r := request{tenant: "acme", id: fmt.Sprint("new token ", i)}
		w.check(w.delivered(r, w.must(r)))
	}
	w.settled("acme")
	if got := len(w.auth.Ledger()); got != 1 {
		t.Errorf("%d refreshes", got)
	}
}

// A request past the expiry waits for the refresh, and is sent once.
func TestExpiredTokenIsRefreshedFirst(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	tokens, err := w.auth.Seed("acme")
	w.check(err)
	w.check(w.auth.Expire("acme"))
	d := documentOf("acme", tokens)
	d.ExpiresAt = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	w.store("acme", d)

	r := request{tenant: "acme", id: "acme", body: randomBytes(mib), chunked: true}
	w.check(w.delivered(r, w.must(r)))
	if got := len(w.api.Attempts(r.id)); got != 1 {
		t.Errorf("%d attempts", got)
	}
	w.settled("acme")
}

// When the token endpoint does not deliver, the app gets the upstream's own 401,
// and all recovers by itself.
func TestTokenEndpointInTrouble(t *testing.T) {
	troubles := map[string]authserver.Behaviour{
		"unavailable": {Instead: authserver.Unavailable("1")},
		"broken":      {Instead: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>oops", http.StatusBadGateway) }},
		"nonsense":    {Instead: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":7}`) }},
		"hangs-up":    {Instead: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"redirects": {Instead: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}},
	}
	w := newWorld(t)
	w.start(configuration{})
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			w := w.within(t)
			w.seedExpired(name)
			w.auth.Play(func(authserver.Entry) authserver.Behaviour { return trouble })
			res := w.expect(request{tenant: name, id: name, body: []byte("question")}, 401)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.body) != "attempt 1" {
				t.Errorf("code %q, answer %q", code, res.body)
			}
			w.expect(request{tenant: name, id: name + " at rest", body: []byte("question")}, 401)
			if got := len(w.auth.Of(name)); got != 1 {
				t.Errorf("%d token requests", got)
			}
			w.auth.Play(nil)
			w.recovers(name)
			w.eventually(func() error { return w.newestStored(name) })
		})
	}
}

// A refusal for good is said so, is not asked about again, and ends when a person
// puts new tokens into Vault.
func TestReauthorization(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	w.seed("acme")
	w.check(w.auth.Revoke("acme"))
	for i := range 3 {
		res := w.expect(request{tenant: "acme", id: fmt.Sprint("revoked ", i)}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" || string(res.body) != "attempt 1" {
			t.Errorf("code %q, answer %q", code, res.body)
		}
	}
	if got := len(w.auth.Ledger()); got != 1 {
		t.Errorf("%d token requests for a refresh token that is no good", got)
	}
	w.seed("acme")
	w.recovers("acme")
	w.settled("acme")
}

// Tokens that somebody else stored meanwhile are taken, and none is spent.
func TestStoreMovedOn(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{store: "cache_ttl 1h"})
	w.seed("acme")
	first := request{tenant: "acme", id: "first"}
	w.check(w.delivered(first, w.must(first)))
	w.check(w.auth.Revoke("acme"))
	w.seed("acme")

	second := request{tenant: "acme", id: "second", body: randomBytes(10 * kib)}
	w.check(w.delivered(second, w.must(second)))
	if got := len(w.auth.Ledger()); got != 0 {
		t.Errorf("%d token requests", got)
	}
	if got := len(w.api.Attempts(second.id)); got != 2 {
		t.Errorf("%d attempts", got)
	}
}
