package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// With Vault gone, the API says so, and works again as soon as Vault does. What it
// could not write it has not kept either.
func TestCredentialsAPIWithoutVault(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct{ begin, end func(*vault) }{
		"killed": {func(v *vault) { v.Kill() }, func(v *vault) { v.Restart() }},
		"sealed": {func(v *vault) { v.Seal() }, func(v *vault) { v.Unseal() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start(w.withAPI(configuration{store: patientVault + "cache_ttl 1ms"}, ""))
			w.seed("acme")
			held, err := w.stored("acme")
			w.check(err)
			w.check(w.sends("acme", held.AccessToken))
			tokens, err := w.auth.Seed("acme")
			w.check(err)
			brings := call{token: w.tokenOf("acme"), patch: documentOf("acme", tokens)}

			outage.begin(w.vault)
			for _, c := range []call{
				{token: brings.token}, brings,
				{token: w.operator(), path: "/tenants/acme"},
				{token: w.operator(), path: "/tenants/new", method: http.MethodPut, patch: documentOf("new", tokens)},
			} {
				if a := w.answers(c, http.StatusServiceUnavailable, "store_unavailable"); a.Header.Get("Retry-After") == "" {
					t.Errorf("%s %s: no Retry-After", c.method, c.path)
				}
			}
			w.answers(call{token: "not a token"}, http.StatusUnauthorized, "token_invalid") // without Vault

			outage.end(w.vault)
			w.soon(15*time.Second, func() error {
				a, err := w.call(brings)
				if err == nil && a.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d %s", a.StatusCode, a.Code)
				}
				return err
			})
			w.check(w.sends("acme", tokens.Access))
			w.settled("acme")
			w.answers(call{token: w.operator(), path: "/tenants/new"}, http.StatusNotFound, "tenant_unknown")
		})
	}
}

// Vault has the write, and its answer is lost: the caller is told that nobody knows,
// and the next request has what is in Vault.
func TestAnswerOfVaultIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.withAPI(configuration{keys: true, store: patientVault + "cache_ttl 1h"}, ""))
	w.storeRaw("acme", keyDocument{w.newKey("acme")})
	w.expect(request{tenant: "acme", id: "before"}, http.StatusOK)
	key := w.newKey("acme")
	hold := w.tap.hold(true, func(r *http.Request, _ []byte) bool {
		return r.Method != http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+pathOf("acme"))
	})
	w.Cleanup(hold.open)
	if a := w.answers(call{token: w.tokenOf("acme"), patch: keyDocument{key}}, http.StatusServiceUnavailable, "store_unavailable"); a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r := request{tenant: "acme", id: "after"}
	w.check(w.delivered(r, w.must(r)))
	hold.open()

	// Who repeats it changes nothing.
	if a := w.brings("acme", keyDocument{key}); a.Version != 2 {
		t.Errorf("version %d", a.Version)
	}
}
