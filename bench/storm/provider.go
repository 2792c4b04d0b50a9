package storm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// provider is an upstream API with its token endpoint. It accepts no access token but the
// newest of a tenant, and each refresh token once.
type provider struct {
	address string
	server  *http.Server

	mu       sync.Mutex
	tokens   map[string]int // by tenant, how often it was refreshed
	requests int            // at the token endpoint
}

func newProvider() (*provider, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{address: listener.Addr().String(), tokens: make(map[string]int)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /", p.answer)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

func (p *provider) close() { _ = p.server.Close() }

// document is a credential whose access token is not accepted.
func (p *provider) document(tenant string) string {
	return fmt.Sprintf(`{"access_token":"%s","refresh_token":"%s"}`, tokenOf(tenant, -1), tokenOf(tenant, 0))
}

// tokenOf is the tenant's token after so many refreshes.
func tokenOf(tenant string, n int) string { return fmt.Sprintf("%s.%d", tenant, n) }

func parseToken(token string) (tenant string, n int, ok bool) {
	tenant, digits, ok := strings.Cut(token, ".")
	n, err := strconv.Atoi(digits)
	return tenant, n, ok && err == nil
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	time.Sleep(tokenEndpointTakes)
	tenant, n, ok := parseToken(r.FormValue("refresh_token"))
	if !ok {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	w.Header().Set("Content-Type", "application/json")
	if n != p.tokens[tenant] {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	p.tokens[tenant]++
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": tokenOf(tenant, p.tokens[tenant]), "refresh_token": tokenOf(tenant, p.tokens[tenant]),
		"token_type": "Bearer", "expires_in": 3600,
	})
}

// answer accepts the newest tokens, and any request of the bare proxy.
func (p *provider) answer(w http.ResponseWriter, r *http.Request) {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return
	}
	tenant, n, ok := parseToken(strings.TrimPrefix(authorization, "Bearer "))
	p.mu.Lock()
	accepted := ok && n > 0 && n == p.tokens[tenant]
	p.mu.Unlock()
	if !accepted {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// expired measures requests whose token has expired, and checks that it is refreshed once.
func (p *provider) expired(ctx context.Context, tenant string, addresses []string, count int) (time.Duration, error) {
	before := p.tokenRequests()
	took, err := ask(ctx, tenant, addresses, count)
	if n := p.tokenRequests() - before; err == nil && n != 1 {
		err = fmt.Errorf("%d token requests", n)
	}
	return took, err
}

func (p *provider) tokenRequests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// ask makes all requests at once, by connections made before, and returns how long it took
// until all were answered by 200.
func ask(ctx context.Context, tenant string, addresses []string, count int) (time.Duration, error) {
	conns := make([]net.Conn, count)
	for i := range conns {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addresses[i%len(addresses)])
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		conns[i] = conn
	}
	request := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: " + tenant + "\r\n\r\n")
	errs := make(chan error, count)
	begun := time.Now()
	for _, conn := range conns {
		go func() {
			_ = conn.SetDeadline(begun.Add(time.Minute))
			if _, err := conn.Write(request); err != nil {
				errs <- err
				return
			}
			res, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
			if err == nil && res.StatusCode != http.StatusOK {
				err = errors.New(res.Status + " " + res.Header.Get("Upstream-Auth-Error"))
			}
			errs <- err
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}
