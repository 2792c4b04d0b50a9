package e2e

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
)

// A hundred requests at each of three replicas, for a tenant whom Vault does not know,
// have each replica ask the application once. It gives out other tokens each time; those
// that Vault got first are everybody's.
func TestUnknownTenantIsFetchedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.newApplication()
	f := w.fleet(app.fetching(configuration{quiet: true, store: patientVault}, "timeout 20s"))
	const count = 100
	for name, replicas := range map[string][]*world{"one": {f.a}, "three": f.replicas()} {
		tenant := name + "-replicas"
		credential := app.authorized(tenant)
		app.has(tenant, func() any {
			// Until all replicas ask, or one of them has found what another has stored.
			ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
			defer cancel()
			app.awaitAsked(ctx, tenant, len(replicas))
			return credential()
		})
		begun := time.Now()
		var all sync.WaitGroup
		for i := range count {
			for j, w := range replicas {
				r := request{
					proto:  []string{"HTTP/1.1", "h2c"}[i%2],
					tenant: tenant, id: fmt.Sprint(tenant, i, j), body: randomBytes(1 + i%3*kib), chunked: i%5 == 0,
				}
				all.Go(func() {
					res, err := w.send(w.ctx, r)
					if err == nil {
						err = w.delivered(r, res)
					}
					if attempts := len(w.api.Attempts(r.id)); err != nil || attempts != 1 {
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
		held, version, err := f.storedRaw(tenant)
		if err != nil || version != 1 {
			t.Errorf("%s: version %d in Vault, %v", tenant, version, err)
		}
		for i := range count {
			for j := range replicas {
				sent := f.api.Attempts(fmt.Sprint(tenant, i, j))[0].Header.Get("Authorization")
				if sent != fmt.Sprintf("Bearer %s", held["access_token"]) {
					t.Fatal("a token was sent that is not in Vault")
				}
			}
		}
		f.settled(tenant)
		f.asked(tenant)
		t.Logf("%d requests at %d replicas: all served within %v, the application was asked %d times, version %d in Vault",
			count*len(replicas), len(replicas), time.Since(begun).Round(time.Millisecond), asked, version)
	}
}

// The request whose credential is beyond refreshing is sent again with the one that the
// application has now.
func TestDeadCredentialIsFetchedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.newApplication()
	f := w.fleet(w.withAPI(app.fetching(configuration{store: patientVault + "cache_ttl 1h"}, "negative_ttl 1s\ntimeout 20s"), ""))
	f.seed("acme")
	for _, w := range f.replicas() {
		w.expect(request{tenant: "acme", id: "alive " + w.caddy.Address}, http.StatusOK)
	}
	f.check(f.auth.Revoke("acme"))
	app.has("acme", sync.OnceValue(app.authorized("acme")))
	const count = 20
	var all sync.WaitGroup
	for i := range count {
		for j, w := range f.replicas() {
			r := request{tenant: "acme", id: fmt.Sprint("dead ", i, j), body: randomBytes(10 * kib), chunked: i%2 == 0}
			all.Go(func() {
				res, err := w.send(w.ctx, r)
				if err == nil {
					err = w.delivered(r, res)
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
	f.asked("acme", authserver.Reused)
	f.settled("acme")
	if a := f.c.answers(call{token: f.tokenOf("acme")}, http.StatusOK, ""); a.Status != "ready" || a.WrittenBy != "fetch" {
		t.Errorf("status %q, written by %q", a.Status, a.WrittenBy)
	}
	t.Logf("%d requests at three replicas with a dead refresh token: 1 token request, the application was asked %d times",
		3*count, app.askedFor("acme"))

	// What was fetched is refreshed like any other.
	f.check(f.auth.Expire("acme"))
	for _, w := range f.replicas() {
		r := request{tenant: "acme", id: "refreshed " + w.caddy.Address, body: randomBytes(kib)}
		w.check(w.delivered(r, w.must(r)))
	}
	f.settled("acme")
	f.asked("acme", authserver.Reused, authserver.Rotated)
}

// A token that has expired, and whose refresh is refused, is fetched anew before the
// upstream is asked, as after a 401.
func TestExpiredCredentialBeyondRefreshingIsFetchedBeforeTheUpstreamIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.newApplication()
	w.start(app.fetching(configuration{}, ""))
	tokens, err := w.auth.Seed("acme")
	w.check(err)
	tokens.Expires = time.Now().Add(-time.Minute)
	w.store("acme", documentOf("acme", tokens))
	w.check(w.auth.Revoke("acme"))
	app.has("acme", sync.OnceValue(app.authorized("acme")))
	r := request{tenant: "acme", id: "expired", body: randomBytes(kib)}
	w.check(w.delivered(r, w.must(r)))
	if attempts := len(w.api.Attempts(r.id)); attempts != 1 {
		t.Errorf("%d attempts", attempts)
	}
	w.asked("acme", authserver.Reused)
}

// A key, which nobody can refresh, is fetched anew when the upstream rejects it. While
// the application has no other one, the app gets the upstream's own answer.
func TestRejectedKeyIsFetchedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.newApplication()
	w.start(app.fetching(configuration{keys: true, store: patientVault + "cache_ttl 1h"}, "negative_ttl 1s"))
	key := w.newKey("acme")
	app.has("acme", func() any { return keyDocument{key} })
	w.expect(request{tenant: "acme", id: "first"}, http.StatusOK)
	w.newKey("acme") // which the application does not know yet
	for i := range 10 {
		r := request{tenant: "acme", id: fmt.Sprint("rejected ", i), body: []byte("question")}
		res := w.expect(r, http.StatusUnauthorized)
		if string(res.body) != "attempt 1" || len(w.api.Attempts(r.id)) != 1 {
			t.Errorf("%s: answer %q", r.id, res.body)
		}
	}
	if asked := app.askedFor("acme"); asked < 1 || asked > 3 {
		t.Errorf("the application was asked %d times", asked)
	}
	key = w.newKey("acme")
	w.soon(5*time.Second, func() error {
		r := request{tenant: "acme", id: fmt.Sprint("new key ", time.Now()), body: []byte("question")}
		res, err := w.send(w.ctx, r)
		if err == nil {
			err = w.delivered(r, res)
		}
		if err == nil && len(w.api.Attempts(r.id)) != 2 {
			err = fmt.Errorf("%d attempts", len(w.api.Attempts(r.id)))
		}
		return err
	})
	w.check(w.holdsKey("acme", key))
}

// An application that has no credential, or none that is any good, is not asked again
// for a while, and that is said in the app's own terms. Afterwards all is well.
func TestApplicationThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.newApplication()
	app.has("elsewhere", app.authorized("redirects"))
	const secret = "a secret that the application sends in vain"
	w.secrets.Add("a secret of the application's", secret)
	says := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = fmt.Fprint(rw, body)
		}
	}
	w.file("schema.json", `{"properties":{"account":{"type":"string","maxLength":30}}}`)
	w.start(app.fetching(configuration{store: patientVault, provider: "schema " + filepath.Join(w.files, "schema.json")}, "negative_ttl 5s\ntimeout 500ms"))

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
		"too-large":        {says(http.StatusOK, `{"access_token":"`+strings.Repeat("x", 2*mib)+`"}`), http.StatusBadGateway, "credential_invalid"},
	}
	refused := func(w *world, tenant string, status int, code string) {
		w.Helper()
		for i := range 3 {
			r := request{tenant: tenant, id: fmt.Sprint(tenant, i)}
			res := w.expect(r, status)
			if got := res.Header.Get("Upstream-Auth-Error"); got != code || (res.Header.Get("Retry-After") != "") != (status == http.StatusServiceUnavailable) {
				w.Errorf("%s: code %q, Retry-After %q", r.id, got, res.Header.Get("Retry-After"))
			}
			if len(w.api.Attempts(r.id)) > 0 {
				w.Errorf("%s: the upstream was asked", r.id)
			}
		}
	}
	for tenant, fault := range faults {
		t.Run(tenant, func(t *testing.T) {
			app.says(tenant, fault.answer)
			refused(w.within(t), tenant, fault.status, fault.code)
			// Go's HTTP client itself repeats a GET when a connection that was kept ends.
			if asked := app.askedFor(tenant); asked != 1 && (asked != 2 || tenant != "hangs-up") {
				t.Errorf("the application was asked %d times", asked)
			}
		})
	}
	app.stop()
	refused(w, "down", http.StatusServiceUnavailable, "store_unavailable")
	app.serve(app)

	if asked := app.askedFor("elsewhere"); asked != 0 {
		t.Error("a redirect was followed")
	}
	for tenant := range faults {
		if _, _, err := w.storedRaw(tenant); err == nil {
			t.Errorf("%s: something is in Vault", tenant)
		}
		app.has(tenant, app.authorized(tenant))
	}
	app.has("down", app.authorized("down"))
	for tenant := range faults {
		w.recoversWithin(8*time.Second, tenant)
		w.settled(tenant)
	}
	w.recoversWithin(8*time.Second, "down")
}
