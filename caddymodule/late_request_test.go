package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func init() {
	caddy.RegisterModule(slow{})
	httpcaddyfile.RegisterHandlerDirective("slow_test", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return slow{}, nil
	})
}

// slow is a handler before ours that keeps a request waiting if that says so.
type slow struct{}

var slowArrived, slowGoesOn = make(chan struct{}), make(chan struct{})

func (slow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.slow_test", New: func() caddy.Module { return new(slow) }}
}

func (slow) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Header.Get("X-Slow") != "" {
		slowArrived <- struct{}{}
		<-slowGoesOn
	}
	return next.ServeHTTP(w, r)
}

// A request that was accepted before a reload gets to a handler of a configuration that
// is cleaned up by then.
func TestRequestThatIsOlderThanAReload(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.file(t, "workspace", workspaceSecret)
	site := "route {\nslow_test\nupstream_auth_api billing {\ntoken hs256 {\nsecret_file " + s.path("workspace") + "\n}\nissuer workspace\n}\nupstream_auth billing " + echo.URL + "\n}"
	s.start(t, apiKey, site)
	paths := []string{"/", "/self"} // the proxy's and the API's
	answered := make(chan string, len(paths))
	for _, path := range paths {
		header := as("acme")
		header.Set("X-Slow", "yes")
		header.Set("Authorization", "Bearer "+sign(t, map[string]any{"id": "acme"}))
		go func() {
			res, _ := s.get(t, path, header)
			answered <- path + " " + res.Status
		}()
		<-slowArrived
	}
	s.load(t, apiKey, site+"\nheader X-Reloaded yes")
	for deadline := time.Now().Add(10 * time.Second); storeUsers() > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the configuration before is not cleaned up")
		}
	}
	for range paths {
		slowGoesOn <- struct{}{}
	}
	for range paths {
		if got := <-answered; !strings.HasSuffix(got, " 200 OK") {
			t.Errorf("got %s", got)
		}
	}
}

// storeUsers is by how many configurations the store is used.
func storeUsers() (used int) {
	caddymodule.Backends.Range(func(key, _ any) bool {
		used, _ = caddymodule.Backends.References(key)
		return true
	})
	return used
}
