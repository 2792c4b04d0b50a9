package proxy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Apache, as it comes, repeats what it was sent: the header in its answer to TRACE, and
// the query where it redirects to a directory. The app gets no key by either, nor do logs.
func TestApacheTellsNobodyTheKey(t *testing.T) {
	w := world.New(t)
	apache := programs.StartApache(t, "")
	w.Start(world.Configuration{
		Keys: true, Provider: "query api_key {credential.apiKey}",
		Sites: []world.Site{{Name: anyHost, Upstream: apache.Address, Log: true}},
	})
	w.StoreRaw("acme", world.KeyDocument{APIKey: w.NewKey("acme")})

	probe := rand.Text()
	answer, err := programs.Run(w.Ctx, "curl", "-sS", "-X", "TRACE", "-H", "X-Api-Key: "+probe, "http://"+apache.Address+"/docs")
	if err != nil || !bytes.Contains(answer, []byte(probe)) {
		t.Fatalf("Apache does not answer TRACE: %q, %v", answer, err)
	}
	for _, method := range []string{http.MethodTrace, http.MethodConnect} {
		res := w.Expect(world.Request{Method: method, Tenant: "acme", Path: "/docs"}, http.StatusMethodNotAllowed)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "method_not_allowed" {
			t.Errorf("%s: code %q", method, code)
		}
	}

	res := w.Expect(world.Request{Tenant: "acme", Path: "/docs?page=1"}, http.StatusMovedPermanently)
	if location := res.Header.Get("Location"); !strings.HasSuffix(location, "/docs/?page=1&api_key=REDACTED") {
		t.Errorf("Location: %q", location)
	}
	// The log with that answer's header is searched for the key at the end.

	w.Eventually(func() error { // Apache logs a request when it has answered it
		requests, err := apache.Requests()
		if err == nil && string(requests) != "TRACE /docs\nGET /docs\n" {
			err = fmt.Errorf("Apache was asked for %q", requests)
		}
		return err
	})
}
