package refresh

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

var loginsOfAllKinds = map[string]struct{ schemes, token string }{
	"form": {byForm, "access_token"}, "JSON": {byJSON, "access_token"}, "cookie": {byCookie, "session"}, "steps": {bySteps, "token"},
}

// wrongPassword is one that no server knows.
func (s *loginServer) wrongPassword() string {
	wrong := "wr0ng-" + rand.Text()
	s.Secrets.Add("a wrong password", wrong)
	return wrong
}

// A password that the login server refuses is the tenant's own, so that the application is
// asked for the one of now, and the request is answered with that: also one that the upstream
// has rejected, which is sent again. While the application has nothing better either nobody
// is asked again and again.
func TestApplicationIsAskedAfterARefusedLogin(t *testing.T) {
	for name, login := range loginsOfAllKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLoginServer(world.New(t))
			wrong := s.wrongPassword()
			var asked atomic.Int32
			var has atomic.Value
			has.Store(s.password)
			app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				_ = json.NewEncoder(w).Encode(map[string]any{"user": r.Header.Get("X-Tenant-ID"), "password": has.Load()})
			}))
			t.Cleanup(app.Close)
			c := s.configuration(login.schemes)
			c.Provider = "fetch_credentials " + app.URL + " {\nnegative_ttl 1h\n}"
			s.Start(c)

			s.Check(serves(s.World, "unknown")) // it brings nothing, and is logged in all the same
			s.counted("unknown", func(logins, refused, _, _ int) bool { return logins == 1 && refused == 0 })
			s.brings("new", wrong)
			s.Check(serves(s.World, "new"))
			s.counted("new", func(logins, refused, _, _ int) bool { return logins == 1 && refused == 1 })
			s.StoreRaw("rejected", map[string]any{"user": "rejected", "password": wrong, login.token: "gone"})
			s.Check(serves(s.World, "rejected"))
			s.counted("rejected", func(logins, refused, _, _ int) bool { return logins == 1 && refused == 1 })
			for _, tenant := range []string{"new", "rejected"} {
				stored, _, err := s.StoredRaw(tenant)
				if err != nil || stored["password"] != s.password || stored[login.token] == "gone" || stored[login.token] == nil {
					t.Errorf("%s: Vault has not what the application has, and a token of it: %v", tenant, err)
				}
			}
			if n := asked.Load(); n != 3 {
				t.Errorf("the application was asked %d times for three tenants", n)
			}

			has.Store(wrong)
			s.brings("dead", wrong)
			for i := range 20 {
				res := s.Expect(world.Request{Tenant: "dead", ID: fmt.Sprint("dead ", i), Path: "/api/orders"}, http.StatusUnauthorized)
				if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" {
					t.Errorf("code %q", code)
				}
			}
			s.counted("dead", func(logins, refused, _, _ int) bool { return logins == 0 && refused == 1 })
			if n := asked.Load(); n != 4 {
				t.Errorf("the application was asked %d times for four tenants", n)
			}
		})
	}
}

// A tenant brings its user and password by the credentials API: it is logged in by its next
// request, after a password that was refused, too, and as who it says it is now.
func TestTenantsBringWhatTheyLogInWith(t *testing.T) {
	for name, login := range loginsOfAllKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLoginServer(world.New(t))
			s.Start(s.WithAPI(s.configuration(login.schemes), ""))
			as := func(user string) {
				t.Helper()
				res := s.Expect(world.Request{Tenant: "acme", ID: rand.Text(), Path: "/api/orders"}, http.StatusOK)
				if want := fmt.Sprintf(`{"user": %q}`, user); string(res.Content) != want {
					t.Errorf("served as %s, not %s", res.Content, want)
				}
			}
			s.Brings("acme", map[string]any{"user": "ann", "password": s.wrongPassword()})
			res := s.Expect(world.Request{Tenant: "acme", ID: "refused", Path: "/api/orders"}, http.StatusUnauthorized)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "reauthorization_required" {
				t.Errorf("code %q", code)
			}
			s.Brings("acme", map[string]any{"user": "ann", "password": s.password})
			as("ann")
			s.Brings("acme", map[string]any{"user": "bob", "password": s.password})
			as("bob")
			s.counted("ann", func(logins, refused, _, _ int) bool { return logins == 1 && refused == 1 })
			s.counted("bob", func(logins, refused, refreshes, _ int) bool { return logins == 1 && refused == 0 && refreshes == 0 })
			s.expire("bob")
			as("bob")
		})
	}
}
