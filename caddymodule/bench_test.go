package caddymodule_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func init() { caddy.RegisterModule(new(cannedTransport)) }

// cannedTransport is an upstream that costs next to nothing: it answers from memory.
type cannedTransport struct{}

func (*cannedTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.canned",
		New: func() caddy.Module { return new(cannedTransport) },
	}
}

func (*cannedTransport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*cannedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"0"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}},
		Body:    http.NoBody,
		Request: req,
	}, nil
}

// discardWriter is a ResponseWriter that keeps the status alone.
type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }

// BenchmarkProxy is a request's way through all of Caddy but the sockets: by a bare
// reverse_proxy, and by ours. What ours takes beyond the bare one is its price.
func BenchmarkProxy(b *testing.B) {
	servers := benchmarkedServers(b)
	for _, path := range []string{"/bare", "/oauth2"} {
		for _, body := range []string{"", strings.Repeat("x", 1<<10)} {
			name := "GET"
			if body != "" {
				name = "POST"
			}
			b.Run(name+path, func(b *testing.B) {
				b.ReportAllocs()
				request := requester(b, servers[path], name, body)
				for b.Loop() {
					request()
				}
			})
		}
	}
}

// benchmarked are the schemes that are measured, each by its path. JWTs that are kept are
// kept for all requests; others are made for each.
var benchmarked = []struct{ path, lines string }{
	{"/oauth2", "oauth2 {\ntoken_url https://login.example.com/token\nclient_id app\nclient_secret {env.HOME}\n}"},
	{"/login", "login {\nrequest https://login.example.com/login {\nform user {credential.user}\nform password {credential.key}\n}\n}"},
	{"/header", "header X-Api-Key {credential.key}"},
	{"/query", "query api_key {credential.key}"},
	{"/cookie", "cookie session {credential.key}"},
	{"/basic", "basic {credential.user} {credential.key}"},
	{"/base_path", "header X-Api-Key {credential.key}\nbase_path /v1/{credential.user}"},
	{"/jwt_kept", "jwt {\nalgorithm ES256\nkey {credential.ec}\nclaim iss {credential.user}\n}"},
	{"/jwt_HS256", "jwt {\nalgorithm HS256\nkey {credential.key}\nclaim iss {credential.user}\nreuse off\n}"},
	{"/jwt_ES256", "jwt {\nalgorithm ES256\nkey {credential.ec}\nclaim iss {credential.user}\nreuse off\n}"},
	{"/jwt_RS256", "jwt {\nalgorithm RS256\nkey {credential.rsa}\nclaim iss {credential.user}\nreuse off\n}"},
}

// benchmarkedServers serve a bare reverse_proxy, "/bare", and ours with each scheme, each
// by a site of its own: routes before it would cost what they cost.
func benchmarkedServers(b *testing.B) map[string]http.Handler {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	document := map[string]string{
		"access_token": strings.Repeat("a", 40), "refresh_token": "r", "expires_at": "2100-01-01T00:00:00Z",
		"user": "app", "key": strings.Repeat("k", 40), "ec": pemOf(b, ec), "rsa": pemOf(b, rsaKey),
	}
	text, err := json.Marshal(document)
	if err != nil {
		b.Fatal(err)
	}
	const upstream = "http://api.example.com:8080 {\n transport canned\n }\n"
	documents := make(map[credential.Key]string)
	var providers, sites strings.Builder
	addresses := make(map[string]string)
	site := func(path, handler string) {
		addresses[path] = freeAddress(b)
		_, port, _ := net.SplitHostPort(addresses[path])
		fmt.Fprintf(&sites, "\n:%s {\nbind 127.0.0.1\n%s %s}\n", port, handler, upstream)
	}
	site("/bare", "reverse_proxy")
	for _, s := range benchmarked {
		name := strings.ToLower(s.path[1:])
		documents[credential.Key{Provider: name, Tenant: "acme"}] = string(text)
		fmt.Fprintf(&providers, "provider %s {\nallowed_hosts api.example.com 127.0.0.1\ninsecure_http\n%s\n}\n", name, s.lines)
		site(s.path, "upstream_auth "+name)
	}
	s := newSidecar(b, documents)
	startText(b, s.caddyfile(providers.String(), "")+sites.String())
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		b.Fatal(err)
	}
	servers := make(map[string]http.Handler)
	for path, address := range addresses {
		for _, server := range app.(*caddyhttp.App).Servers {
			if slices.Contains(server.Listen, address) || slices.Contains(server.Listen, "tcp/"+address) {
				servers[path] = server
			}
		}
	}
	return servers
}

// BenchmarkProxyCost is what [BenchmarkProxy] says, for each scheme, measured in one run: by
// turns, A B B A, a hundred requests each, so that a processor that changes its speed changes
// it for both, and the garbage is collected in between. `ns-more` is the median.
func BenchmarkProxyCost(b *testing.B) {
	servers := benchmarkedServers(b)
	cost := func(method, path, body string) {
		b.Run(method+path, func(b *testing.B) {
			bare, ours := requester(b, servers["/bare"], method, body), requester(b, servers[path], method, body)
			const turn = 100
			timed := func(request func()) float64 {
				began := time.Now()
				for range turn {
					request()
				}
				return float64(time.Since(began)) / turn
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			var more []float64
			for b.Loop() {
				runtime.GC()
				_, _ = timed(bare), timed(ours) // sweep, and fill the caches
				bare1, ours1, ours2, bare2 := timed(bare), timed(ours), timed(ours), timed(bare)
				more = append(more, (ours1+ours2-bare1-bare2)/2)
			}
			slices.Sort(more)
			b.ReportMetric(more[len(more)/2], "ns-more")
			b.ReportMetric(testing.AllocsPerRun(turn, ours)-testing.AllocsPerRun(turn, bare), "allocs-more")
			b.ReportMetric(0, "ns/op")
		})
	}
	for _, s := range benchmarked {
		cost("GET", s.path, "")
	}
	cost("POST", "/oauth2", strings.Repeat("x", 1<<10))
}

// pemOf writes a key as PEM.
func pemOf(b *testing.B, key any) string {
	b.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// requester returns what makes a request, with what net/http's server would give to it.
func requester(b *testing.B, server http.Handler, method, body string) func() {
	template, err := http.NewRequestWithContext(context.Background(), method, "http://127.0.0.1/orders", nil)
	if err != nil {
		b.Fatal(err)
	}
	template.RequestURI, template.RemoteAddr = "/orders", "127.0.0.1:54321"
	return func() {
		req := *template
		u := *template.URL
		req.URL = &u
		req.Header = http.Header{"X-Tenant-Id": {"acme"}, "User-Agent": {"app"}, "Accept": {"*/*"}}
		if body == "" {
			req.Body = http.NoBody
		} else {
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader([]byte(body))), int64(len(body))
		}
		w := discardWriter{header: make(http.Header)}
		server.ServeHTTP(&w, &req)
		if w.status != http.StatusOK {
			b.Fatalf("status %d: %v", w.status, w.header)
		}
	}
}
