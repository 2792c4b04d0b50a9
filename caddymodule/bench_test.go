package caddymodule_test

import (
	"bytes"
	"context"
	"io"
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
	server := benchmarkedServer(b)
	for _, path := range []string{"/bare", "/oauth2"} {
		for _, body := range []string{"", strings.Repeat("x", 1<<10)} {
			name := "GET"
			if body != "" {
				name = "POST"
			}
			b.Run(name+path, func(b *testing.B) {
				b.ReportAllocs()
				request := requester(b, server, name, path, body)
				for b.Loop() {
					request()
				}
			})
		}
	}
}

// benchmarkedServer serves a bare reverse_proxy, /bare, and ours, /oauth2.
func benchmarkedServer(b *testing.B) http.Handler {
	s := newSidecar(b, map[credential.Key]string{
		key("acme"): `{"access_token":"` + strings.Repeat("a", 40) + `","refresh_token":"r","expires_at":"2100-01-01T00:00:00Z"}`,
	})
	const upstream = "http://api.example.com:8080 {\n transport canned\n }\n"
	s.start(b, `provider billing {
			allowed_hosts api.example.com 127.0.0.1
			insecure_http
			oauth2 {
				token_url https://login.example.com/token
				client_id app
				client_secret {env.HOME}
			}
		}`, `handle /bare {
			reverse_proxy `+upstream+`}
		handle /oauth2 {
			upstream_auth billing `+upstream+`}`)
	ctx := caddy.ActiveContext()
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		b.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		return server
	}
	panic("no server")
}

// BenchmarkProxyCost is what [BenchmarkProxy] says, measured in one run: by turns, A B B A,
// a hundred requests each, so that a processor that changes its speed changes it for both,
// and the garbage is collected in between. `ns-more` is the median.
func BenchmarkProxyCost(b *testing.B) {
	server := benchmarkedServer(b)
	for name, body := range map[string]string{"GET": "", "POST": strings.Repeat("x", 1<<10)} {
		b.Run(name, func(b *testing.B) {
			bare, oauth2 := requester(b, server, name, "/bare", body), requester(b, server, name, "/oauth2", body)
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
				_, _ = timed(bare), timed(oauth2) // sweep, and fill the caches
				bare1, oauth21, oauth22, bare2 := timed(bare), timed(oauth2), timed(oauth2), timed(bare)
				more = append(more, (oauth21+oauth22-bare1-bare2)/2)
			}
			slices.Sort(more)
			b.ReportMetric(more[len(more)/2], "ns-more")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// requester returns what makes a request, with what net/http's server would give to it.
func requester(b *testing.B, server http.Handler, method, path, body string) func() {
	template, err := http.NewRequestWithContext(context.Background(), method, "http://127.0.0.1"+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	template.RequestURI, template.RemoteAddr = path, "127.0.0.1:54321"
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
