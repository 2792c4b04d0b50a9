package credentials

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// With Vault gone, the API says so, and works again as soon as Vault does. What it
// could not write it has not kept either.
func TestCredentialsAPIWithoutVault(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct{ begin, end func(*world.Vault) }{
		"killed": {func(v *world.Vault) { v.Kill() }, func(v *world.Vault) { v.Restart() }},
		"sealed": {func(v *world.Vault) { v.Seal() }, func(v *world.Vault) { v.Unseal() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Start(w.WithAPI(world.Configuration{Store: world.PatientVault + "cache_ttl 1ms"}, ""))
			w.Seed("acme")
			held, err := w.Stored("acme")
			w.Check(err)
			w.Check(w.Sends("acme", held.AccessToken))
			tokens, err := w.Auth.Seed("acme")
			w.Check(err)
			brings := world.Call{Token: w.TokenOf("acme"), Patch: world.DocumentOf("acme", tokens)}

			outage.begin(w.Vault)
			for _, c := range []world.Call{
				{Token: brings.Token}, brings,
				{Token: w.Operator(), Path: "/tenants/acme"},
				{Token: w.Operator(), Path: "/tenants/new", Method: http.MethodPut, Patch: world.DocumentOf("new", tokens)},
			} {
				if a := w.Answers(c, http.StatusServiceUnavailable, "store_unavailable"); a.Header.Get("Retry-After") == "" {
					t.Errorf("%s %s: no Retry-After", c.Method, c.Path)
				}
			}
			w.Answers(world.Call{Token: "not a token"}, http.StatusUnauthorized, "token_invalid") // without Vault

			outage.end(w.Vault)
			w.Soon(15*time.Second, func() error {
				a, err := w.Call(brings)
				if err == nil && a.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d %s", a.StatusCode, a.Code)
				}
				return err
			})
			w.Check(w.Sends("acme", tokens.Access))
			w.Settled("acme")
			w.Answers(world.Call{Token: w.Operator(), Path: "/tenants/new"}, http.StatusNotFound, "tenant_unknown")
		})
	}
}

// Vault has the write, and its answer is lost: the caller is told that nobody knows,
// and the next request has what is in Vault.
func TestAnswerOfVaultIsLost(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(w.WithAPI(world.Configuration{Keys: true, Store: world.PatientVault + "cache_ttl 1h"}, ""))
	w.StoreRaw("acme", world.KeyDocument{APIKey: w.NewKey("acme")})
	w.Expect(world.Request{Tenant: "acme", ID: "before"}, http.StatusOK)
	key := w.NewKey("acme")
	hold := w.Tap.Hold(true, func(r *http.Request, _ []byte) bool {
		return r.Method != http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+world.PathOf("acme"))
	})
	w.Cleanup(hold.Open)
	if a := w.Answers(world.Call{Token: w.TokenOf("acme"), Patch: world.KeyDocument{APIKey: key}}, http.StatusServiceUnavailable, "store_unavailable"); a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r := world.Request{Tenant: "acme", ID: "after"}
	w.Check(w.Delivered(r, w.Must(r)))
	hold.Open()

	// Who repeats it changes nothing.
	if a := w.Brings("acme", world.KeyDocument{APIKey: key}); a.Version != 2 {
		t.Errorf("version %d", a.Version)
	}
}
