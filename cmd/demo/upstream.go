package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// api is the upstream: it answers whoever has a current access token, and 401 to
// all others (RFC 6750 section 3).
type api struct {
	auth   *authServer
	events *events

	mu      sync.Mutex
	missing int           // how many requests are waited for
	all     chan struct{} // closed when none is missing any more
}

// gather has the next n requests wait for each other before they are answered.
func (a *api) gather(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missing, a.all = n, make(chan struct{})
}

// arrive waits for the requests that this one is to be gathered with, if any.
func (a *api) arrive(ctx context.Context) {
	a.mu.Lock()
	all := a.all
	if a.missing == 0 {
		a.mu.Unlock()
		return
	}
	if a.missing--; a.missing == 0 {
		close(all)
	}
	a.mu.Unlock()
	select {
	case <-all:
	case <-ctx.Done():
	}
}

// ServeHTTP implements [http.Handler]. The answer tells the tenant whose token it
// was, and size and digest of the body.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	digest := sha256.New()
	size, err := io.Copy(digest, r.Body)
	if err != nil {
		a.events.add("API saw", r.Method+" whose body broke off", "")
		return
	}
	a.arrive(r.Context())
	label := "no token"
	value, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if bearer {
		label = a.auth.label(value)
	}
	tenant, current := a.auth.inspect(value)
	status := http.StatusOK
	if !current {
		status = http.StatusUnauthorized
	}
	a.events.add("API saw", r.Method+" with "+label, outcome(status, size, digest.Sum(nil))+seenTenant(r.Header))

	if !current {
		w.Header().Set("WWW-Authenticate", `Bearer realm="demo", error="invalid_token"`)
		answer(w, status, map[string]any{"message": "the access token is not current"})
		return
	}
	answer(w, status, receipt{Tenant: tenant, Size: size, SHA256: fmt.Sprintf("%x", digest.Sum(nil))})
}

// receipt is what the API answers.
type receipt struct {
	Tenant string `json:"tenant"`
	Size   int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// outcome is how a request with a body is shown.
func outcome(status int, size int64, digest []byte) string {
	text := fmt.Sprint(status)
	if size > 0 {
		text += ", " + bodyLabel(size, digest)
	}
	return text
}

func bodyLabel(size int64, digest []byte) string {
	return fmt.Sprintf("%d bytes, sha256 %x...", size, digest[:4])
}

// seenTenant is not empty if the tenant's name got through, which it should not.
func seenTenant(header http.Header) string {
	if len(header[tenantHeader]) > 0 {
		return ", and the tenant's name"
	}
	return ""
}
