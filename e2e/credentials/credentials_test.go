package credentials

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What a tenant brings is used by the next request through the same replica, though it
// has the old credential in memory, and by the others within cache_ttl.
func TestBroughtCredentialsAreUsed(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	w := world.New(t)
	f := w.Fleet(w.WithAPI(world.Configuration{Store: world.PatientVault + "cache_ttl " + ttl.String()}, ""))
	f.Seed("acme")
	for round := range 2 {
		for _, w := range f.Replicas() {
			w.Expect(world.Request{Tenant: "acme", ID: fmt.Sprint("before ", round, w.Caddy.Address)}, http.StatusOK)
		}
		tokens, err := f.Auth.Seed("acme") // and the old ones stay good
		f.Check(err)
		at := f.Replicas()[round]
		before := at.Answers(world.Call{Token: at.TokenOf("acme")}, http.StatusOK, "")
		after := at.Brings("acme", world.DocumentOf("acme", tokens))
		brought := time.Now()
		if after.Version != before.Version+1 || after.Status != "ready" {
			t.Errorf("version %d after %d, status %q", after.Version, before.Version, after.Status)
		}
		at.Check(at.Sends("acme", tokens.Access))
		for _, w := range f.Replicas() {
			w.Soon(ttl+2*time.Second, func() error { return w.Sends("acme", tokens.Access) })
		}
		t.Logf("used by all replicas after %v", time.Since(brought).Round(time.Millisecond))
		f.Settled("acme")
	}
	f.Asked("acme")
}

// Of any number of writes that are for one version, at any replica, one is made.
func TestConcurrentWritesOfOneVersion(t *testing.T) {
	w := world.New(t)
	f := w.Fleet(w.WithAPI(world.Configuration{Keys: true, Quiet: true, Store: world.PatientVault}, ""))
	const count = 50
	race := func(name, condition, value string, versions int) {
		var won []string
		var lost atomic.Int64
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range count {
			at := f.Replicas()[i%3]
			key := fmt.Sprintf("%s key number %d", name, i)
			token := f.TokenOf("acme")
			all.Go(func() {
				a, err := at.Call(world.Call{Token: token, Patch: world.KeyDocument{APIKey: key}, Header: http.Header{condition: {value}}})
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
		f.Check(f.HoldsKey("acme", won[0]))
		if _, version, err := f.StoredRaw("acme"); err != nil || version != versions {
			t.Errorf("%s: version %d in Vault, %v", name, version, err)
		}
		t.Logf("%s: %d writes at once at three replicas, 1 made, %d answered 412", name, count, lost.Load())
	}
	race("create", "If-None-Match", "*", 1)
	for version := range 2 {
		etag := f.B.Answers(world.Call{Token: f.TokenOf("acme")}, http.StatusOK, "").Header.Get("ETag")
		race(fmt.Sprint("replace ", version+1), "If-Match", etag, version+2)
	}

	// Without a condition the last one wins.
	f.A.Brings("acme", world.KeyDocument{APIKey: "the last key"})
	f.Check(f.HoldsKey("acme", "the last key"))
}

// A deleted credential is worth nothing any more: its tokens are revoked, it is gone
// from Vault, and no replica serves the tenant. One that cannot be revoked stays.
func TestDeletedCredentialIsRevoked(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	var broken atomic.Bool
	revocation := w.Serve(httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(rw, "no revocation of "+r.PostFormValue("token"), http.StatusServiceUnavailable)
			return
		}
		w.Auth.ServeHTTP(rw, r)
	})))
	w.Check(w.Vault.Allow(w.Ctx, world.Policy, world.PolicyAPI))
	f := w.Fleet(w.WithAPI(world.Configuration{Store: world.PatientVault + "cache_ttl 1s", OAuth2: "revocation_url " + revocation + "/revoke"}, ""))
	remove := world.Call{Method: http.MethodDelete, Path: "/tenants/acme", Token: f.Operator()}
	deletes := func(c world.Call) {
		t.Helper()
		f.B.Answers(c, http.StatusOK, "")
		for i, w := range []*world.World{f.B, f.A, f.C} {
			gone := func() error {
				res, err := w.Send(w.Ctx, world.Request{Tenant: "acme", ID: fmt.Sprint("deleted ", time.Now())})
				if code := res.Header.Get("Upstream-Auth-Error"); err == nil && (res.StatusCode != http.StatusForbidden || code != "tenant_unknown") {
					err = fmt.Errorf("status %d, code %q", res.StatusCode, code)
				}
				return err
			}
			if i == 0 {
				w.Check(gone()) // at once
			}
			w.Soon(3*time.Second, gone)
		}
		if data, _, err := f.StoredRaw("acme"); err != nil || data != nil {
			t.Errorf("the credential is in Vault still, or: %v", err)
		}
	}

	f.Seed("acme")
	held, err := f.Stored("acme")
	f.Check(err)
	for _, w := range f.Replicas() {
		w.Check(w.Sends("acme", held.AccessToken))
	}
	f.A.Answers(world.Call{Method: http.MethodDelete, Path: "/tenants/acme", Token: f.TokenOf("acme")}, http.StatusForbidden, "access_denied")
	f.A.Answers(world.Call{Method: http.MethodDelete, Token: f.TokenOf("acme")}, http.StatusMethodNotAllowed, "method_not_allowed")
	broken.Store(true)
	f.B.Answers(remove, http.StatusBadGateway, "revocation_failed")
	f.Check(f.B.Sends("acme", held.AccessToken))
	f.Check(f.NewestStored("acme"))
	broken.Store(false)
	deletes(remove)
	// The refresh token takes the access token along, which is nobody's then.
	revocations := f.Auth.Revocations()
	if len(revocations) != 2 || revocations[0].Tenant != "acme" || !revocations[0].Accepted ||
		revocations[0].Hint != "refresh_token" || revocations[1].Hint != "access_token" {
		t.Errorf("revocations %+v", revocations)
	}
	if _, current := f.Auth.Subject(held.AccessToken); current {
		t.Error("the access token is current still")
	}
	if _, spendable := f.Auth.Spendable(held.RefreshToken); spendable {
		t.Error("the refresh token can be spent still")
	}
	f.B.Answers(remove, http.StatusNotFound, "tenant_unknown")

	// The tenant comes back, and is deleted by force.
	tokens, err := f.Auth.Seed("acme")
	f.Check(err)
	f.A.Brings("acme", world.DocumentOf("acme", tokens))
	f.Check(f.A.Sends("acme", tokens.Access))
	broken.Store(true)
	force := remove
	force.Path += "?force=true"
	deletes(force)
	if _, current := f.Auth.Subject(tokens.Access); !current {
		t.Error("the token is revoked though nobody could")
	}
	f.Asked("acme")
}

// The documents of tenants are kept apart whatever their tokens are used for, and so
// are the tokens of tenants and of operators.
func TestTokensOfTenantsStayApart(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(w.WithAPI(world.Configuration{Keys: true, Store: world.PatientVault}, ""))
	tenants := []string{"acme", "globex"}
	keys := make(map[string]string)
	for _, tenant := range tenants {
		keys[tenant] = w.NewKey(tenant)
		w.Brings(tenant, world.KeyDocument{APIKey: keys[tenant]})
	}
	for i, tenant := range tenants {
		token, other := w.TokenOf(tenant), tenants[1-i]
		if a := w.Answers(world.Call{Token: token}, http.StatusOK, ""); a.ID != tenant {
			t.Errorf("%s is told of %s", tenant, a.ID)
		}
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			for _, path := range []string{"/tenants/" + other, "/tenants/" + tenant, "/tenants/nobody"} {
				w.Answers(world.Call{Method: method, Path: path, Token: token, Patch: world.KeyDocument{APIKey: "a key of " + tenant + "'s"}}, http.StatusForbidden, "access_denied")
			}
		}
		// No header, parameter or field makes it another tenant.
		a := w.Answers(world.Call{
			Method: http.MethodPatch, Path: "/self?id=" + other + "&tenant=" + other, Token: token,
			Patch: world.KeyDocument{APIKey: keys[tenant]}, Header: http.Header{"X-Tenant-Id": {other}},
		}, http.StatusOK, "")
		if a.ID != tenant {
			t.Errorf("%s wrote for %s", tenant, a.ID)
		}
		w.Answers(world.Call{Token: token, Body: fmt.Sprintf(`{"id":%q,"credentials":{"apiKey":"x"}}`, other)}, http.StatusBadRequest, "request_invalid")
	}
	for _, tenant := range tenants {
		w.Check(w.HoldsKey(tenant, keys[tenant]))
		if _, version, err := w.StoredRaw(tenant); err != nil || version != 1 {
			t.Errorf("%s: version %d, %v", tenant, version, err)
		}
		r := world.Request{Tenant: tenant, ID: tenant}
		w.Check(w.Delivered(r, w.Must(r)))
		if a := w.Answers(world.Call{Path: "/tenants/" + tenant, Token: w.Operator()}, http.StatusOK, ""); a.ID != tenant {
			t.Errorf("the operator is told of %s", a.ID)
		}
	}
	if _, _, err := w.StoredRaw("nobody"); err == nil {
		t.Error("a tenant was made")
	}
	if refused := w.Tap.Refusals(); len(refused) > 0 {
		t.Errorf("Vault refused %q", refused)
	}
}
