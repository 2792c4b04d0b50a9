package refresh

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A client authenticates at the token endpoint as it is configured, and only so.
func TestClientAuthentication(t *testing.T) {
	for _, method := range []authserver.ClientAuth{authserver.Basic, authserver.Post, authserver.None} {
		t.Run(string(method), func(t *testing.T) {
			w := world.NewWith(t, authserver.Config{ClientAuth: method})
			c := world.Configuration{Public: method == authserver.None}
			if !c.Public {
				c.OAuth2 = "client_auth " + string(method)
			}
			w.Start(c)
			w.SeedExpired("acme")
			r := world.Request{Tenant: "acme", ID: "acme", Body: []byte("question")}
			w.Check(w.Delivered(r, w.Must(r)))
			w.Settled("acme")
		})
	}
}

// A token that expires soon is refreshed behind the back of a request, which still
// uses it and does not wait. The new one lives shorter than refresh_ahead; that is
// no reason to refresh it at once.
func TestRefreshAheadOfExpiry(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{OAuth2: "refresh_ahead 2h", Store: "cache_ttl 1ms"})
	w.Seed("acme") // for an hour
	asked, gate := make(chan struct{}), make(chan struct{})
	w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
		return authserver.Behaviour{Before: func() { close(asked); <-gate }}
	})
	for i := range 3 {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("old token ", i)}
		w.Check(w.Delivered(r, w.Must(r)))
	}
	select {
	case <-asked:
	case <-w.Ctx.Done():
		t.Fatal("no refresh")
	}
	before, err := w.Stored("acme")
	w.Check(err)
	close(gate)
	w.Eventually(func() error {
		if after, err := w.Stored("acme"); err != nil || after.AccessToken == before.AccessToken {
			return fmt.Errorf("no new token in Vault, %v", err)
		}
		return nil
	})
	for i := range 5 {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("new token ", i)}
		w.Check(w.Delivered(r, w.Must(r)))
	}
	w.Settled("acme")
	if got := len(w.Auth.Ledger()); got != 1 {
		t.Errorf("%d refreshes", got)
	}
}

// A request past the expiry waits for the refresh, and is sent once.
func TestExpiredTokenIsRefreshedFirst(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	tokens, err := w.Auth.Seed("acme")
	w.Check(err)
	w.Check(w.Auth.Expire("acme"))
	d := world.DocumentOf("acme", tokens)
	d.ExpiresAt = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	w.Store("acme", d)

	r := world.Request{Tenant: "acme", ID: "acme", Body: world.RandomBytes(world.MiB), Chunked: true}
	w.Check(w.Delivered(r, w.Must(r)))
	if got := len(w.API.Attempts(r.ID)); got != 1 {
		t.Errorf("%d attempts", got)
	}
	w.Settled("acme")
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
	w := world.New(t)
	w.Start(world.Configuration{})
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			w.SeedExpired(name)
			w.Auth.Play(func(authserver.Entry) authserver.Behaviour { return trouble })
			res := w.Expect(world.Request{Tenant: name, ID: name, Body: []byte("question")}, 401)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.Content) != "attempt 1" {
				t.Errorf("code %q, answer %q", code, res.Content)
			}
			w.Expect(world.Request{Tenant: name, ID: name + " at rest", Body: []byte("question")}, 401)
			if got := len(w.Auth.Of(name)); got != 1 {
				t.Errorf("%d token requests", got)
			}
			w.Auth.Play(nil)
			w.Recovers(name)
			w.Eventually(func() error { return w.NewestStored(name) })
		})
	}
}

// A refusal for good is said so, is not asked about again, and ends when a person
// puts new tokens into Vault.
func TestReauthorization(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	w.Seed("acme")
	w.Check(w.Auth.Revoke("acme"))
	for i := range 3 {
		res := w.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("revoked ", i)}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" || string(res.Content) != "attempt 1" {
			t.Errorf("code %q, answer %q", code, res.Content)
		}
	}
	if got := len(w.Auth.Ledger()); got != 1 {
		t.Errorf("%d token requests for a refresh token that is no good", got)
	}
	w.Seed("acme")
	w.Recovers("acme")
	w.Settled("acme")
}

// Tokens that somebody else stored meanwhile are taken, and none is spent.
func TestStoreMovedOn(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Store: "cache_ttl 1h"})
	w.Seed("acme")
	first := world.Request{Tenant: "acme", ID: "first"}
	w.Check(w.Delivered(first, w.Must(first)))
	w.Check(w.Auth.Revoke("acme"))
	w.Seed("acme")

	second := world.Request{Tenant: "acme", ID: "second", Body: world.RandomBytes(10 * world.KiB)}
	w.Check(w.Delivered(second, w.Must(second)))
	if got := len(w.Auth.Ledger()); got != 0 {
		t.Errorf("%d token requests", got)
	}
	if got := len(w.API.Attempts(second.ID)); got != 2 {
		t.Errorf("%d attempts", got)
	}
}
