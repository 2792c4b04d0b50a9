package credentials

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// application is the app's own endpoint, which has the credentials of its tenants.
type application struct {
	*world.Endpoint
	secret string // that a sidecar has to show

	mu      sync.Mutex
	asked   map[string]int
	answers map[string]http.HandlerFunc // by tenant; the others are unknown
	changed chan struct{}               // closed and replaced when it was asked
}

// newApplication makes one that is up.
func newApplication(w *world.World) *application {
	w.Helper()
	a := &application{
		Endpoint: w.NewEndpoint(), secret: "the sidecar's " + rand.Text(),
		asked: make(map[string]int), answers: make(map[string]http.HandlerFunc), changed: make(chan struct{}),
	}
	w.Secrets.Add("the application's secret", a.secret)
	w.File("app-secret", a.secret)
	a.Serve(a)
	return a
}

// fetching adds the endpoint to a configuration.
func (a *application) fetching(c world.Configuration, lines string) world.Configuration {
	c.Provider += fmt.Sprintf("\nfetch_credentials http://%s/of/{tenant} {\nheader Authorization \"Bearer {file.%s}\"\n%s\n}",
		a.Address, filepath.Join(a.Files, "app-secret"), lines)
	return c
}

// ServeHTTP answers a sidecar's question.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tenant := strings.TrimPrefix(r.URL.Path, "/of/")
	a.mu.Lock()
	a.asked[tenant]++
	answer := a.answers[tenant]
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+a.secret, r.Header.Get("X-Tenant-ID") != tenant, r.Method != http.MethodGet:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case answer == nil:
		http.NotFound(w, r)
	default:
		answer(w, r)
	}
}

// says sets the answer for a tenant.
func (a *application) says(tenant string, answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[tenant] = answer
}

// has makes the answer for a tenant a credential, made anew each time.
func (a *application) has(tenant string, credential func() any) {
	a.says(tenant, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(credential()) })
}

// authorized is a credential with tokens of a login of its own.
func (a *application) authorized(tenant string) func() any {
	return func() any {
		tokens, err := a.Auth.Seed(tenant)
		if err != nil {
			return err
		}
		return world.DocumentOf(tenant, tokens)
	}
}

func (a *application) askedFor(tenant string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[tenant]
}

// awaitAsked returns when it has been asked n times for a tenant, or ctx is done.
func (a *application) awaitAsked(ctx context.Context, tenant string, n int) {
	for {
		a.mu.Lock()
		done, changed := a.asked[tenant] >= n, a.changed
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func redirectTo(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, path, http.StatusFound) }
}
