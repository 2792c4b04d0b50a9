package sdk

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// api stands in for the credentials API: it notes what comes, and answers every request.
type api struct {
	address string
	allow   bool // other origins
	status  int  // of the answers

	mu       sync.Mutex
	requests []request
}

type request struct {
	method, path, authorization, origin, body string
	wantsMethod, wantsHeaders                 string // what a preflight asks for
}

func startAPI(t *testing.T) *api { t.Helper(); return startAPIThat(t, true, http.StatusOK) }

func startAPIThat(t *testing.T, allow bool, status int) *api {
	t.Helper()
	a := &api{allow: allow, status: status}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.address = server.URL
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, request{
		method: r.Method, path: r.URL.Path, authorization: r.Header.Get("Authorization"), origin: r.Header.Get("Origin"), body: string(body),
		wantsMethod: r.Header.Get("Access-Control-Request-Method"), wantsHeaders: r.Header.Get("Access-Control-Request-Headers"),
	})
	if a.allow {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
		w.Header().Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, `{"id":"acme"}`)
}

// await returns the requests, without preflights, once there are n, and the preflights.
func (a *api) await(ctx context.Context, t *testing.T, n int) (requests, preflights []request) {
	t.Helper()
	for {
		a.mu.Lock()
		all := slices.Clone(a.requests)
		a.mu.Unlock()
		requests, preflights = nil, nil
		for _, r := range all {
			if r.method == http.MethodOptions {
				preflights = append(preflights, r)
			} else {
				requests = append(requests, r)
			}
		}
		if len(requests) >= n {
			return requests, preflights
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d requests of %d: %+v", len(requests), n, all)
		}
	}
}
