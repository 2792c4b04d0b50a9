package proxy

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A client that keeps cookies, as most can, sends none of one tenant's with another's
// token. By way of a bare proxy it does.
func TestCookieJarsOfOthersKeepTenantsApart(t *testing.T) {
	w := world.New(t)
	seen := make(chan string, 10) // whose request it was, and whose cookie came with it
	upstream := w.Serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		seen <- tenantOf(w, r) + " with " + r.Header.Get("Cookie")
		http.SetCookie(rw, &http.Cookie{Name: "session", Value: tenantOf(w, r), Path: "/"})
	})))
	w.Start(world.Configuration{Sites: besidePlain(upstream)})
	for _, tenant := range inTurn[:2] {
		w.Seed(tenant)
	}
	for name, ask := range map[string]func(address string) error{
		"curl": func(address string) error {
			jar := filepath.Join(t.TempDir(), "cookies")
			for _, tenant := range inTurn {
				if _, err := programs.Run(w.Ctx, "curl", "-sS", "-b", jar, "-c", jar, "-H", "X-Tenant-ID: "+tenant, address); err != nil {
					return err
				}
			}
			return nil
		},
		"Python": func(address string) error {
			_, err := programs.Run(w.Ctx, "python3", append([]string{programs.Source("cookies.py"), address}, inTurn...)...)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for path, want := range map[string][]string{
				"/orders":       {"acme with ", "globex with ", "acme with "},
				"/plain/orders": {"acme with ", "globex with session=acme", "acme with session=globex"},
			} {
				w.Within(t).Check(ask("http://" + w.Caddy.Address + path))
				for i := range want {
					if got := <-seen; got != want[i] {
						t.Errorf("%s, request %d: the upstream saw %q, not %q", path, i+1, got, want[i])
					}
				}
			}
		})
	}
}
