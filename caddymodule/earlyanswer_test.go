package caddymodule_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// notExpired is a credential that the upstreams here refuse.
const notExpired = `{"access_token":"canary-access-old","refresh_token":"canary-refresh-0"}`

func isRefused(r *http.Request) bool {
	return r.Header.Get("Authorization") == "Bearer canary-access-old"
}

// newTenants are n tenants whose tokens are refused.
func newTenants(n int) map[credential.Key]string {
	tenants := make(map[credential.Key]string, n)
	for i := range n {
		tenants[key(credential.Tenant(fmt.Sprint("t", i)))] = notExpired
	}
	return tenants
}

// An upstream that refuses a request by its header, and closes the connection without
// reading the body, as gunicorn's and Python's do.
func TestAnswerThatComesBeforeTheBodyIsSentIsNotLost(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isRefused(r) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if rand.IntN(2) == 0 {
			fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		} else {
			fmt.Fprint(conn, "HTTP/1.0 401 Unauthorized\r\n\r\ndenied")
		}
		_ = conn.Close() // with what is not read yet: the other side's writes fail
	})
	plain, overTLS := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer overTLS.Close()
	const tenants = 30
	auth := newAuthServer(t)
	for name, upstream := range map[string]string{
		"plain": plain.URL,
		"TLS":   overTLS.URL + " {\ntransport http {\ntls_insecure_skip_verify\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSidecar(t, newTenants(tenants))
			s.start(t, auth.provider("billing", ""), "upstream_auth billing "+upstream)
			var wg sync.WaitGroup
			places := make(chan struct{}, 4)
			for i := range tenants {
				wg.Go(func() {
					places <- struct{}{}
					defer func() { <-places }()
					size := 1<<20 + rand.IntN(3<<20)
					res, text := s.do(t, http.MethodPost, "/", as(fmt.Sprint("t", i)), bytes.NewReader(make([]byte, size)))
					if res.StatusCode != 200 || text != strconv.Itoa(size) {
						t.Errorf("a body of %d bytes: %s %v %s", size, res.Status, res.Header, text)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestBodyThatWasNotAskedForIsReplayedWhateverItsSize(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRefused(r) {
			w.WriteHeader(http.StatusUnauthorized) // Nobody has read the body.
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}))
	defer upstream.Close()
	auth := newAuthServer(t)
	s := newSidecar(t, newTenants(1))
	s.start(t, auth.provider("billing", ""), "upstream_auth billing "+upstream.URL)
	const size = 11 << 20 // replay_max_body is 10 MiB
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url, bytes.NewReader(make([]byte, size)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = as("t0")
	req.Header.Set("Expect", "100-continue")
	client := &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}
	res, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(text) != strconv.Itoa(size) {
		t.Error(res.Status, res.Header, string(text), err)
	}
}

// Java's HTTP client waits for ever if it is told to go on twice.
func TestClientIsToldToGoOnOnce(t *testing.T) {
	for name, test := range map[string]struct {
		settings string
		answer   func(w http.ResponseWriter, r *http.Request)
	}{
		"refused after the body was read": {"", func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			if isRefused(r) {
				w.WriteHeader(http.StatusUnauthorized)
			}
			fmt.Fprint(w, n)
		}},
		"refused before": {"", func(w http.ResponseWriter, r *http.Request) {
			if isRefused(r) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		}},
		"by an upstream that takes too long": {"transport http {\nexpect_continue_timeout 1ms\n}", func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			body := make([]byte, 5)
			if _, err := io.ReadFull(rw, body); err == nil {
				fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := httptest.NewServer(http.HandlerFunc(test.answer))
			defer upstream.Close()
			auth := newAuthServer(t)
			s := newSidecar(t, newTenants(1))
			s.start(t, auth.provider("billing", ""), "upstream_auth billing "+upstream.URL+" {\n"+test.settings+"\n}")
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: "+s.address+"\r\nX-Tenant-Id: t0\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
			answer := bufio.NewReader(conn)
			if line, err := answer.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
				t.Fatal(line, err)
			}
			fmt.Fprint(conn, "12345")
			rest, err := io.ReadAll(answer)
			if err != nil || strings.Count(string(rest), "HTTP/1.1 ") != 1 || !strings.Contains(string(rest), "HTTP/1.1 200 OK\r\n") {
				t.Errorf("%q %v", rest, err)
			}
		})
	}
}

func TestAnswersBeforeTheLastAreGuarded(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Link", "</style.css>; rel=preload")
		header.Set("Set-Cookie", "session=acme")
		header.Set(proxy.HeaderError, "forged")
		header.Set("X-Seen", r.Header.Get("X-Api-Key"))
		w.WriteHeader(http.StatusEarlyHints)
		clear(header)
	}))
	defer upstream.Close()
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"canary-key"}`})
	s.start(t, apiKey, "upstream_auth billing "+upstream.URL)
	var hints []http.Header
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			hints = append(hints, http.Header(header))
			return nil
		},
	})
	request(ctx, t, s.url, as("acme"))
	if len(hints) != 1 || hints[0].Get("Link") == "" || hints[0].Get("X-Seen") != "REDACTED" ||
		hints[0].Get("Set-Cookie")+hints[0].Get(proxy.HeaderError) != "" {
		t.Errorf("answers before the last: %v", hints)
	}
}

// request makes a request and forgets the answer.
func request(ctx context.Context, t *testing.T, url string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// A client that has said all it has to say in a tunnel still hears the rest.
func TestTunnelIsClosedOneSideAtATime(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
		said, _ := io.ReadAll(rw)
		fmt.Fprintf(conn, "you said %s", said)
	}))
	defer upstream.Close()
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"canary-key"}`})
	s.start(t, apiKey, "upstream_auth billing "+upstream.URL)
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: "+s.address+"\r\nX-Tenant-Id: acme\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	answer := bufio.NewReader(conn)
	if res, err := http.ReadResponse(answer, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	fmt.Fprint(conn, "bye")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(answer); err != nil || string(text) != "you said bye" {
		t.Errorf("%q %v", text, err)
	}
}
