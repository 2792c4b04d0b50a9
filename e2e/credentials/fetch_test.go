package credentials

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A hundred requests at each of three replicas, for a tenant whom Vault does not know,
// have each replica ask the application once. It gives out other tokens each time; those
// that Vault got first are everybody's.
func TestUnknownTenantIsFetchedOnce(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	app := newApplication(w)
	f := w.Fleet(app.fetching(world.Configuration{Quiet: true, Store: world.PatientVault}, "timeout 20s"))
	const count = 100
	for name, replicas := range map[string][]*world.World{"one": {f.A}, "three": f.Replicas()} {
		tenant := name + "-replicas"
		credential := app.authorized(tenant)
		app.has(tenant, func() any {
			// Until all replicas ask, or one of them has found what another has stored.
			ctx, cancel := context.WithTimeout(f.Ctx, 5*time.Second)
			defer cancel()
			app.awaitAsked(ctx, tenant, len(replicas))
			return credential()
		})
		begun := time.Now()
		var all sync.WaitGroup
		for i := range count {
			for j, w := range replicas {
				r := world.Request{
					Proto:  []string{"HTTP/1.1", "h2c"}[i%2],
					Tenant: tenant, ID: fmt.Sprint(tenant, i, j), Body: world.RandomBytes(1 + i%3*world.KiB), Chunked: i%5 == 0,
				}
				all.Go(func() {
					res, err := w.Send(w.Ctx, r)
					if err == nil {
						err = w.Delivered(r, res)
					}
					if attempts := len(w.API.Attempts(r.ID)); err != nil || attempts != 1 {
						t.Errorf("%d attempts, %v", attempts, err)
					}
				})
			}
		}
		all.Wait()
		asked := app.askedFor(tenant)
		if asked == 0 || asked > len(replicas) {
			t.Errorf("%s: the application was asked %d times", tenant, asked)
		}
		held, version, err := f.StoredRaw(tenant)
		if err != nil || version != 1 {
			t.Errorf("%s: version %d in Vault, %v", tenant, version, err)
		}
		for i := range count {
			for j := range replicas {
				sent := f.API.Attempts(fmt.Sprint(tenant, i, j))[0].Header.Get("Authorization")
				if sent != fmt.Sprintf("Bearer %s", held["access_token"]) {
					t.Fatal("a token was sent that is not in Vault")
				}
			}
		}
		f.Settled(tenant)
		f.Asked(tenant)
		t.Logf("%d requests at %d replicas: all served within %v, the application was asked %d times, version %d in Vault",
			count*len(replicas), len(replicas), time.Since(begun).Round(time.Millisecond), asked, version)
	}
}

// The request whose credential is beyond refreshing is sent again with the one that the
// application has now.
func TestDeadCredentialIsFetchedAnew(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	app := newApplication(w)
	f := w.Fleet(w.WithAPI(app.fetching(world.Configuration{Store: world.PatientVault + "cache_ttl 1h"}, "negative_ttl 1s\ntimeout 20s"), ""))
	f.Seed("acme")
	for _, w := range f.Replicas() {
		w.Expect(world.Request{Tenant: "acme", ID: "alive " + w.Caddy.Address}, http.StatusOK)
	}
	f.Check(f.Auth.Revoke("acme"))
	app.has("acme", sync.OnceValue(app.authorized("acme")))
	const count = 20
	var all sync.WaitGroup
	for i := range count {
		for j, w := range f.Replicas() {
			r := world.Request{Tenant: "acme", ID: fmt.Sprint("dead ", i, j), Body: world.RandomBytes(10 * world.KiB), Chunked: i%2 == 0}
			all.Go(func() {
				res, err := w.Send(w.Ctx, r)
				if err == nil {
					err = w.Delivered(r, res)
				}
				if err != nil || res.Header.Get("Upstream-Auth-Error") != "" {
					t.Errorf("%v, code %q", err, res.Header.Get("Upstream-Auth-Error"))
				}
			})
		}
	}
	all.Wait()
	if asked := app.askedFor("acme"); asked == 0 || asked > 3 {
		t.Errorf("the application was asked %d times", asked)
	}
	f.Asked("acme", authserver.Reused)
	f.Settled("acme")
	if a := f.C.Answers(world.Call{Token: f.TokenOf("acme")}, http.StatusOK, ""); a.Status != "ready" || a.WrittenBy != "fetch" {
		t.Errorf("status %q, written by %q", a.Status, a.WrittenBy)
	}
	t.Logf("%d requests at three replicas with a dead refresh token: 1 token request, the application was asked %d times",
		3*count, app.askedFor("acme"))

	// What was fetched is refreshed like any other.
	f.Check(f.Auth.Expire("acme"))
	for _, w := range f.Replicas() {
		r := world.Request{Tenant: "acme", ID: "refreshed " + w.Caddy.Address, Body: world.RandomBytes(world.KiB)}
		w.Check(w.Delivered(r, w.Must(r)))
	}
	f.Settled("acme")
	f.Asked("acme", authserver.Reused, authserver.Rotated)
}

// A token that has expired, and whose refresh is refused, is fetched anew before the
// upstream is asked, as after a 401.
func TestExpiredCredentialBeyondRefreshingIsFetchedBeforeTheUpstreamIsAsked(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	app := newApplication(w)
	w.Start(app.fetching(world.Configuration{}, ""))
	tokens, err := w.Auth.Seed("acme")
	w.Check(err)
	tokens.Expires = time.Now().Add(-time.Minute)
	w.Store("acme", world.DocumentOf("acme", tokens))
	w.Check(w.Auth.Revoke("acme"))
	app.has("acme", sync.OnceValue(app.authorized("acme")))
	r := world.Request{Tenant: "acme", ID: "expired", Body: world.RandomBytes(world.KiB)}
	w.Check(w.Delivered(r, w.Must(r)))
	if attempts := len(w.API.Attempts(r.ID)); attempts != 1 {
		t.Errorf("%d attempts", attempts)
	}
	w.Asked("acme", authserver.Reused)
}

// A key, which nobody can refresh, is fetched anew when the upstream rejects it. While
// the application has no other one, the app gets the upstream's own answer.
func TestRejectedKeyIsFetchedAnew(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	app := newApplication(w)
	w.Start(app.fetching(world.Configuration{Keys: true, Store: world.PatientVault + "cache_ttl 1h"}, "negative_ttl 1s"))
	key := w.NewKey("acme")
	app.has("acme", func() any { return world.KeyDocument{APIKey: key} })
	w.Expect(world.Request{Tenant: "acme", ID: "first"}, http.StatusOK)
	w.NewKey("acme") // which the application does not know yet
	for i := range 10 {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("rejected ", i), Body: []byte("question")}
		res := w.Expect(r, http.StatusUnauthorized)
		if string(res.Content) != "attempt 1" || len(w.API.Attempts(r.ID)) != 1 {
			t.Errorf("%s: answer %q", r.ID, res.Content)
		}
	}
	if asked := app.askedFor("acme"); asked < 1 || asked > 3 {
		t.Errorf("the application was asked %d times", asked)
	}
	key = w.NewKey("acme")
	w.Soon(5*time.Second, func() error {
		r := world.Request{Tenant: "acme", ID: fmt.Sprint("new key ", time.Now()), Body: []byte("question")}
		res, err := w.Send(w.Ctx, r)
		if err == nil {
			err = w.Delivered(r, res)
		}
		if err == nil && len(w.API.Attempts(r.ID)) != 2 {
			err = fmt.Errorf("%d attempts", len(w.API.Attempts(r.ID)))
		}
		return err
	})
	w.Check(w.HoldsKey("acme", key))
}

// An application that has no credential, or none that is any good, is not asked again
// for a while, and that is said in the app's own terms. Afterwards all is well.
func TestApplicationThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	app := newApplication(w)
	app.has("elsewhere", app.authorized("redirects"))
	const secret = "a secret that the application sends in vain"
	w.Secrets.Add("a secret of the application's", secret)
	says := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = fmt.Fprint(rw, body)
		}
	}
	w.File("schema.json", `{"properties":{"account":{"type":"string","maxLength":30}}}`)
	w.Start(app.fetching(world.Configuration{Store: world.PatientVault, Provider: "schema " + filepath.Join(w.Files, "schema.json")}, "negative_ttl 5s\ntimeout 500ms"))

	faults := map[string]struct {
		answer http.HandlerFunc
		status int
		code   string
	}{
		"unknown":          {nil, http.StatusForbidden, "tenant_unknown"},
		"gone":             {says(http.StatusGone, secret), http.StatusForbidden, "tenant_unknown"},
		"no-content":       {says(http.StatusNoContent, ""), http.StatusForbidden, "tenant_unknown"},
		"refuses":          {says(http.StatusForbidden, secret), http.StatusServiceUnavailable, "store_unavailable"},
		"fails":            {says(http.StatusInternalServerError, secret), http.StatusServiceUnavailable, "store_unavailable"},
		"hangs-up":         {authserver.HangUp, http.StatusServiceUnavailable, "store_unavailable"},
		"hangs":            {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, http.StatusServiceUnavailable, "store_unavailable"},
		"redirects":        {redirectTo("/of/elsewhere"), http.StatusServiceUnavailable, "store_unavailable"},
		"no-json":          {says(http.StatusOK, "<html>"+secret), http.StatusBadGateway, "credential_invalid"},
		"no-object":        {says(http.StatusOK, `["`+secret+`"]`), http.StatusBadGateway, "credential_invalid"},
		"empty":            {says(http.StatusOK, ""), http.StatusBadGateway, "credential_invalid"},
		"lacks-a-field":    {says(http.StatusOK, `{"refresh_token":"`+secret+`"}`), http.StatusBadGateway, "credential_invalid"},
		"breaks-the-rules": {says(http.StatusOK, `{"access_token":"x","account":"`+secret+`"}`), http.StatusBadGateway, "credential_invalid"},
		"has-our-own-key":  {says(http.StatusOK, `{"access_token":"x","_upstream_auth":{}}`), http.StatusBadGateway, "credential_invalid"},
		"too-large":        {says(http.StatusOK, `{"access_token":"`+strings.Repeat("x", 2*world.MiB)+`"}`), http.StatusBadGateway, "credential_invalid"},
	}
	refused := func(w *world.World, tenant string, status int, code string) {
		w.Helper()
		for i := range 3 {
			r := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, i)}
			res := w.Expect(r, status)
			if got := res.Header.Get("Upstream-Auth-Error"); got != code || (res.Header.Get("Retry-After") != "") != (status == http.StatusServiceUnavailable) {
				w.Errorf("%s: code %q, Retry-After %q", r.ID, got, res.Header.Get("Retry-After"))
			}
			if len(w.API.Attempts(r.ID)) > 0 {
				w.Errorf("%s: the upstream was asked", r.ID)
			}
		}
	}
	for tenant, fault := range faults {
		t.Run(tenant, func(t *testing.T) {
			app.says(tenant, fault.answer)
			refused(w.Within(t), tenant, fault.status, fault.code)
			// Go's HTTP client itself repeats a GET when a connection that was kept ends.
			if asked := app.askedFor(tenant); asked != 1 && (asked != 2 || tenant != "hangs-up") {
				t.Errorf("the application was asked %d times", asked)
			}
		})
	}
	app.Stop()
	refused(w, "down", http.StatusServiceUnavailable, "store_unavailable")
	app.Serve(app)

	if asked := app.askedFor("elsewhere"); asked != 0 {
		t.Error("a redirect was followed")
	}
	for tenant := range faults {
		if _, _, err := w.StoredRaw(tenant); err == nil {
			t.Errorf("%s: something is in Vault", tenant)
		}
		app.has(tenant, app.authorized(tenant))
	}
	app.has("down", app.authorized("down"))
	for tenant := range faults {
		w.RecoversWithin(8*time.Second, tenant)
		w.Settled(tenant)
	}
	w.RecoversWithin(8*time.Second, "down")
}

// The application has a client for each tenant. The first request obtains a token with it.
// After its secret was changed, which the token endpoint refuses from then on, the application
// is asked once, and not at each request; when it has the new one all is well.
func TestClientIsFetchedAnewWhenItIsRefused(t *testing.T) {
	for name, refuse := range map[string]http.HandlerFunc{
		"invalid_client": nil, // as the authorization server does itself
		"unauthorized_client": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"unauthorized_client"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			app := newApplication(w)
			w.Start(app.fetching(world.Configuration{
				Store:  world.PatientVault + "cache_ttl 1h",
				Client: "client_id {credential.client_id}\nclient_secret {credential.client_secret}", OAuth2: "grant client_credentials",
			}, "negative_ttl 2s"))
			has := func(secret string) {
				w.Secrets.Add("a client secret", secret)
				app.has("acme", func() any { return map[string]any{"client_id": "acme", "client_secret": secret} })
			}
			has("the secret of before")
			w.Check(w.Auth.Register("acme", "the secret of before"))
			for i := range 3 {
				r := world.Request{Tenant: "acme", ID: fmt.Sprint("before ", i), Body: world.RandomBytes(world.KiB)}
				if err := w.Delivered(r, w.Must(r)); err != nil || len(w.API.Attempts(r.ID)) != 1 {
					t.Errorf("%d attempts, %v", len(w.API.Attempts(r.ID)), err)
				}
			}
			w.Asked("acme", authserver.Granted)
			if asked := app.askedFor("acme"); asked != 1 {
				t.Errorf("the application was asked %d times", asked)
			}

			w.Check(w.Auth.Register("acme", "the secret of now"))
			w.Check(w.Auth.Expire("acme"))
			w.Auth.PlayFor("acme", func(authserver.Entry) authserver.Behaviour { return authserver.Behaviour{Instead: refuse} })
			// What was given is asked for again when it is no longer remembered as just given.
			w.Soon(10*time.Second, func() error {
				w.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("refused ", time.Now())}, http.StatusUnauthorized)
				if asked := app.askedFor("acme"); asked != 2 {
					return fmt.Errorf("the application was asked %d times", asked)
				}
				return nil
			})
			begun := time.Now()
			for i := range 50 {
				res := w.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("in vain ", i)}, http.StatusUnauthorized)
				if string(res.Content) != "attempt 1" {
					t.Errorf("answer %q", res.Content)
				}
			}
			if asked, atMost := app.askedFor("acme"), 2+int(time.Since(begun)/(2*time.Second)); asked > atMost {
				t.Errorf("the application was asked %d times", asked)
			}

			w.Auth.PlayFor("acme", nil)
			has("the secret of now")
			w.RecoversWithin(10*time.Second, "acme")
			stored, _, err := w.StoredRaw("acme")
			w.Check(err)
			if tenant, current := w.Auth.Subject(fmt.Sprint(stored["access_token"])); stored["client_secret"] != "the secret of now" || !current || tenant != "acme" {
				t.Error("Vault has not what the application has, and a token of it")
			}
			asked := app.askedFor("acme")
			for i := range 10 {
				w.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("after ", i)}, http.StatusOK)
			}
			if again := app.askedFor("acme") - asked; again != 0 {
				t.Errorf("the application was asked %d times more", again)
			}
		})
	}
}
