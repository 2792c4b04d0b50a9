package proxy

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

func BenchmarkRoundTrip(b *testing.B) {
	bodytest.WithoutPoison(b, &body.TestHook)
	res := answer(200)
	buf := make([]byte, 32<<10)
	base := roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			for {
				if _, err := req.Body.Read(buf); err != nil {
					break
				}
			}
			req.Body.Close()
		}
		return res, nil
	})
	payload := bodytest.RandomBytes(1 << 10)
	for _, method := range []string{"GET", "POST"} {
		for _, with := range []string{"base", "transport"} {
			b.Run(method+"/"+with, func(b *testing.B) {
				template, _ := newExchange(b)
				transport := http.RoundTripper(base)
				req, _ := http.NewRequest(method, "http://upstream.example/a/b?c=d", nil)
				req.Header = http.Header{"Accept": {"*/*"}, "User-Agent": {"app"}, "Content-Type": {"text/plain"}, "X-Forwarded-For": {"192.0.2.1"},
					"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"a.example"}, "Via": {"1.1 Caddy"}, "Accept-Encoding": {"gzip"}}
				b.ReportAllocs()
				for b.Loop() {
					// What the handler would do is not measured: the exchange and its context.
					x := *template
					req := req
					if with == "transport" {
						transport = &Transport{Base: base}
						req = req.WithContext(NewContext(b.Context(), &x))
					} else {
						req = req.WithContext(b.Context())
					}
					if method == "POST" {
						req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
					}
					if _, err := transport.RoundTrip(req); err != nil {
						b.Fatal(err)
					}
					x.Close()
				}
			})
		}
	}
}
