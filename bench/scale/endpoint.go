package scale

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// tokenEndpoint answers every token request with new tokens, good for a day.
type tokenEndpoint struct {
	url    string
	server *http.Server

	mu sync.Mutex
	at []time.Time // of the requests so far
}

func newTokenEndpoint(ctx context.Context) (*tokenEndpoint, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &tokenEndpoint{url: fmt.Sprintf("http://%s/token", listener.Addr())}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = e.server.Serve(listener) }()
	return e, nil
}

func (e *tokenEndpoint) close() { _ = e.server.Close() }

func (e *tokenEndpoint) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at = append(e.at, time.Now())
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"new-%d","refresh_token":"next-%d","token_type":"Bearer","expires_in":86400}`, len(e.at), len(e.at))
}

// requests returns when they came.
func (e *tokenEndpoint) requests() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.at[:len(e.at):len(e.at)]
}
