package caddymodule_test

import (
	"net/http"
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

// A request that was accepted before a reload gets to the handler of a configuration that
// is cleaned up by then.
func TestRequestThatIsOlderThanAReload(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	site := "route {\nslow_test\nupstream_auth billing " + echo.URL + "\n}"
	s.start(t, apiKey, site)
	answered := make(chan int, 1)
	go func() {
		header := as("acme")
		header.Set("X-Slow", "yes")
		res, _ := s.get(t, "/", header)
		answered <- res.StatusCode
	}()
	<-slowArrived
	s.load(t, apiKey, site+"\nheader X-Reloaded yes")
	for deadline := time.Now().Add(10 * time.Second); storeUsers() > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the configuration before is not cleaned up")
		}
	}
	slowGoesOn <- struct{}{}
	if status := <-answered; status != 200 {
		t.Errorf("got %d", status)
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
