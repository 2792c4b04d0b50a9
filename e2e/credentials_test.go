package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a tenant brings is used by the next request through the same replica, though it
// has the old credential in memory, and by the others within cache_ttl.
func TestBroughtCredentialsAreUsed(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	w := newWorld(t)
	f := w.fleet(w.withAPI(configuration{store: patientVault + "cache_ttl " + ttl.String()}, ""))
	f.seed("acme")
	for round := range 2 {
		for _, w := range f.replicas() {
			w.expect(request{tenant: "acme", id: fmt.Sprint("before ", round, w.caddy.Address)}, http.StatusOK)
		}
		tokens, err := f.auth.Seed("acme") // and the old ones stay good
		f.check(err)
		at := f.replicas()[round]
		before := at.answers(call{token: at.tokenOf("acme")}, http.StatusOK, "")
		after := at.brings("acme", documentOf("acme", tokens))
		brought := time.Now()
		if after.Version != before.Version+1 || after.Status != "ready" {
			t.Errorf("version %d after %d, status %q", after.Version, before.Version, after.Status)
		}
		at.check(at.sends("acme", tokens.Access))
		for _, w := range f.replicas() {
			w.soon(ttl+2*time.Second, func() error { return w.sends("acme", tokens.Access) })
		}
		t.Logf("used by all replicas after %v", time.Since(brought).Round(time.Millisecond))
		f.settled("acme")
	}
	f.asked("acme")
}

// sends checks that a request of a tenant's reaches the upstream with an access token.
func (w *world) sends(tenant, access string) error {
	r := request{tenant: tenant, id: fmt.Sprint(tenant, " sends ", time.Now().UnixNano())}
	res, err := w.send(w.ctx, r)
	if err == nil {
		err = w.delivered(r, res)
	}
	if err == nil && w.api.Attempts(r.id)[0].Header.Get("Authorization") != "Bearer "+access {
		err = fmt.Errorf("%s: another token was sent", tenant)
	}
	return err
}

// Of any number of writes that are for one version, at any replica, one is made.
func TestConcurrentWritesOfOneVersion(t *testing.T) {
	w := newWorld(t)
	f := w.fleet(w.withAPI(configuration{keys: true, quiet: true, store: patientVault}, ""))
	const count = 50
	race := func(name, condition, value string, versions int) {
		var won []string
		var lost atomic.Int64
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range count {
			at := f.replicas()[i%3]
			key := fmt.Sprintf("%s key number %d", name, i)
			token := f.tokenOf("acme")
			all.Go(func() {
				a, err := at.call(call{token: token, patch: keyDocument{key}, header: http.Header{condition: {value}}})
				switch {
				case err != nil:
					t.Errorf("%s %d: %v", name, i, err)
				case a.StatusCode == http.StatusOK:
					mu.Lock()
					defer mu.Unlock()
					won = append(won, key)
				case a.StatusCode == http.StatusPreconditionFailed && a.Code == "precondition_failed":
					lost.Add(1)
				default:
					t.Errorf("%s %d: status %d %q", name, i, a.StatusCode, a.Code)
				}
			})
		}
		all.Wait()
		if len(won) != 1 || lost.Load() != count-1 {
			t.Fatalf("%s: %d writes made, %d refused", name, len(won), lost.Load())
		}
		f.check(f.holdsKey("acme", won[0]))
		if _, version, err := f.storedRaw("acme"); err != nil || version != versions {
			t.Errorf("%s: version %d in Vault, %v", name, version, err)
		}
		t.Logf("%s: %d writes at once at three replicas, 1 made, %d answered 412", name, count, lost.Load())
	}
	race("create", "If-None-Match", "*", 1)
	for version := range 2 {
		etag := f.b.answers(call{token: f.tokenOf("acme")}, http.StatusOK, "").Header.Get("ETag")
		race(fmt.Sprint("replace ", version+1), "If-Match", etag, version+2)
	}

	// Without a condition the last one wins.
	f.a.brings("acme", keyDocument{"the last key"})
	f.check(f.holdsKey("acme", "the last key"))
}

// A deleted credential is worth nothing any more: its tokens are revoked, it is gone
// from Vault, and no replica serves the tenant. One that cannot be revoked stays.
func TestDeletedCredentialIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var broken atomic.Bool
	revocation := w.serve(httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(rw, "no revocation of "+r.PostFormValue("token"), http.StatusServiceUnavailable)
			return
		}
		w.auth.ServeHTTP(rw, r)
	})))
	w.check(w.vault.allow(w.ctx, policy, policyAPI))
	f := w.fleet(w.withAPI(configuration{store: patientVault + "cache_ttl 1s", oauth2: "revocation_url " + revocation + "/revoke"}, ""))
	remove := call{method: http.MethodDelete, path: "/tenants/acme", token: f.operator()}
	deletes := func(c call) {
		t.Helper()
		f.b.answers(c, http.StatusOK, "")
		for i, w := range []*world{f.b, f.a, f.c} {
			gone := func() error {
				res, err := w.send(w.ctx, request{tenant: "acme", id: fmt.Sprint("deleted ", time.Now())})
				if code := res.Header.Get("Upstream-Auth-Error"); err == nil && (res.StatusCode != http.StatusForbidden || code != "tenant_unknown") {
					err = fmt.Errorf("status %d, code %q", res.StatusCode, code)
				}
				return err
			}
			if i == 0 {
				w.check(gone()) // at once
			}
			w.soon(3*time.Second, gone)
		}
		if data, _, err := f.storedRaw("acme"); err != nil || data != nil {
			t.Errorf("the credential is in Vault still, or: %v", err)
		}
	}

	f.seed("acme")
	held, err := f.stored("acme")
	f.check(err)
	for _, w := range f.replicas() {
		w.check(w.sends("acme", held.AccessToken))
	}
	f.a.answers(call{method: http.MethodDelete, path: "/tenants/acme", token: f.tokenOf("acme")}, http.StatusForbidden, "access_denied")
	f.a.answers(call{method: http.MethodDelete, token: f.tokenOf("acme")}, http.StatusMethodNotAllowed, "method_not_allowed")
	broken.Store(true)
	f.b.answers(remove, http.StatusBadGateway, "revocation_failed")
	f.check(f.b.sends("acme", held.AccessToken))
	f.check(f.newestStored("acme"))
	broken.Store(false)
	deletes(remove)
	// The refresh token takes the access token along, which is nobody's then.
	revocations := f.auth.Revocations()
	if len(revocations) != 2 || revocations[0].Tenant != "acme" || !revocations[0].Accepted ||
		revocations[0].Hint != "refresh_token" || revocations[1].Hint != "access_token" {
		t.Errorf("revocations %+v", revocations)
	}
	if _, current := f.auth.Subject(held.AccessToken); current {
		t.Error("the access token is current still")
	}
	if _, spendable := f.auth.Spendable(held.RefreshToken); spendable {
		t.Error("the refresh token can be spent still")
	}
	f.b.answers(remove, http.StatusNotFound, "tenant_unknown")

	// The tenant comes back, and is deleted by force.
	tokens, err := f.auth.Seed("acme")
	f.check(err)
	f.a.brings("acme", documentOf("acme", tokens))
	f.check(f.a.sends("acme", tokens.Access))
	broken.Store(true)
	force := remove
	force.path += "?force=true"
	deletes(force)
	if _, current := f.auth.Subject(tokens.Access); !current {
		t.Error("the token is revoked though nobody could")
	}
	f.asked("acme")
}

// The documents of tenants are kept apart whatever their tokens are used for, and so
// are the tokens of tenants and of operators.
func TestTokensOfTenantsStayApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.withAPI(configuration{keys: true, store: patientVault}, ""))
	tenants := []string{"acme", "globex"}
	keys := make(map[string]string)
	for _, tenant := range tenants {
		keys[tenant] = w.newKey(tenant)
		w.brings(tenant, keyDocument{keys[tenant]})
	}
	for i, tenant := range tenants {
		token, other := w.tokenOf(tenant), tenants[1-i]
		if a := w.answers(call{token: token}, http.StatusOK, ""); a.ID != tenant {
			t.Errorf("%s is told of %s", tenant, a.ID)
		}
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			for _, path := range []string{"/tenants/" + other, "/tenants/" + tenant, "/tenants/nobody"} {
				w.answers(call{method: method, path: path, token: token, patch: keyDocument{"a key of " + tenant + "'s"}}, http.StatusForbidden, "access_denied")
			}
		}
		// No header, parameter or field makes it another tenant.
		a := w.answers(call{
			method: http.MethodPatch, path: "/self?id=" + other + "&tenant=" + other, token: token,
			patch: keyDocument{keys[tenant]}, header: http.Header{"X-Tenant-Id": {other}},
		}, http.StatusOK, "")
		if a.ID != tenant {
			t.Errorf("%s wrote for %s", tenant, a.ID)
		}
		w.answers(call{token: token, body: fmt.Sprintf(`{"id":%q,"credentials":{"apiKey":"x"}}`, other)}, http.StatusBadRequest, "request_invalid")
	}
	for _, tenant := range tenants {
		w.check(w.holdsKey(tenant, keys[tenant]))
		if _, version, err := w.storedRaw(tenant); err != nil || version != 1 {
			t.Errorf("%s: version %d, %v", tenant, version, err)
		}
		r := request{tenant: tenant, id: tenant}
		w.check(w.delivered(r, w.must(r)))
		if a := w.answers(call{path: "/tenants/" + tenant, token: w.operator()}, http.StatusOK, ""); a.ID != tenant {
			t.Errorf("the operator is told of %s", a.ID)
		}
	}
	if _, _, err := w.storedRaw("nobody"); err == nil {
		t.Error("a tenant was made")
	}
	if len(w.tap.refused) > 0 {
		t.Errorf("Vault refused %q", w.tap.refused)
	}
}
