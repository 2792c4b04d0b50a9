package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// Client is the legacy app: it names a tenant and knows nothing of tokens.
type Client struct{ Transport *http.Transport }

// newClient makes a client that finds every host at address.
func newClient(address string, h2c bool) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 200,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!h2c)
	t.Protocols.SetUnencryptedHTTP2(h2c)
	return &Client{Transport: t}
}

func (c *Client) close() { c.Transport.CloseIdleConnections() }

// Request is one request of the app.
type Request struct {
	Proto   string // "HTTP/1.1" (default) or "h2c"
	Site    string // default: "app"
	Method  string // default: GET, or POST with a body
	Path    string // default: /echo
	Tenant  string
	ID      string // default: one of its own
	Body    []byte
	Chunked bool
	Header  http.Header
	Trailer http.Header
}

// Response is the answer, read to its end.
type Response struct {
	*http.Response
	Content []byte // of its body
}

// Send sends r and reads the whole answer.
func (w *World) Send(ctx context.Context, r Request) (Response, error) {
	req, err := r.Build(ctx)
	if err != nil {
		return Response{}, err
	}
	if r.Proto == "" {
		r.Proto = "HTTP/1.1"
	}
	res, err := w.Clients[r.Proto].Transport.RoundTrip(req)
	if err != nil {
		return Response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Response{res, body}, err
}

// Build makes the request for a client.
func (r Request) Build(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	if r.Method == "" {
		r.Method = map[bool]string{false: http.MethodGet, true: http.MethodPost}[body != nil]
	}
	if r.Path == "" {
		r.Path = "/echo"
	}
	if r.Site == "" {
		r.Site = defaultSite
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+r.Site+r.Path, body)
	if err != nil {
		return nil, err
	}
	if r.Chunked {
		req.ContentLength = -1
		if len(r.Body) == 0 {
			req.Body = io.NopCloser(body) // not http.NoBody, which is never sent in chunks
		}
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	req.Trailer = r.Trailer
	if r.Tenant != "" {
		req.Header.Set("X-Tenant-ID", r.Tenant)
	}
	req.Header.Set(upstream.RequestID, r.ID)
	return req, nil
}

// Must sends r and ends the test unless there is an answer.
func (w *World) Must(r Request) Response {
	w.Helper()
	res, err := w.Send(w.Ctx, r)
	if err != nil {
		w.Fatalf("%s: %v", r.ID, err)
	}
	return res
}

// Expect sends r and checks the answer's status.
func (w *World) Expect(r Request, status int) Response {
	w.Helper()
	res := w.Must(r)
	if res.StatusCode != status {
		w.Errorf("%s: status %d (%s), not %d: %q", r.ID, res.StatusCode, res.Header.Get("Upstream-Auth-Error"), status, res.Content)
	}
	return res
}

// Delivered checks what both ends saw of r: an answer 200 that echoes it, one
// delivery under the name of the tenant, and none under another's.
func (w *World) Delivered(r Request, res Response) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d (%s): %q", r.ID, res.StatusCode, res.Header.Get("Upstream-Auth-Error"), res.Content)
	}
	want := upstream.Echo{Tenant: r.Tenant, Digest: upstream.DigestOf(r.Body)}
	var echo upstream.Echo
	if err := json.Unmarshal(res.Content, &echo); err != nil || echo != want {
		return errors.Join(fmt.Errorf("%s: answer %q, wanted %+v", r.ID, res.Content, want), err)
	}
	return w.DeliveredOnce(r)
}

// DeliveredOnce checks what the upstream saw of r.
func (w *World) DeliveredOnce(r Request) error {
	count := 0
	for _, a := range w.API.Attempts(r.ID) {
		if a.Number > 2 {
			return fmt.Errorf("%s: attempt %d", r.ID, a.Number)
		}
		if !a.Accepted {
			continue
		}
		if a.Tenant != r.Tenant || !a.Delivered() || a.Digest != upstream.DigestOf(r.Body) {
			return fmt.Errorf("%s: delivered as %+v", r.ID, a)
		}
		if tenant := a.Header.Get("X-Tenant-ID"); tenant != "" {
			return fmt.Errorf("%s: the upstream saw the tenant header", r.ID)
		}
		count++
	}
	if count != 1 {
		return fmt.Errorf("%s: delivered %d times", r.ID, count)
	}
	return nil
}

// Sizes of bodies.
const (
	KiB = 1 << 10
	MiB = 1 << 20
)

// RandomBytes returns so many bytes, each time the same.
func RandomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = random.Read(b)
	return b
}
