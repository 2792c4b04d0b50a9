package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// client is the legacy app: it names a tenant and knows nothing of tokens.
type client struct{ transport *http.Transport }

// newClient makes a client that finds every host at address.
func newClient(address string, h2c bool) *client {
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
	return &client{transport: t}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// request is one request of the app.
type request struct {
	proto   string // "HTTP/1.1" (default) or "h2c"
	site    string // default: defaultSite
	method  string // default: GET, or POST with a body
	path    string // default: /echo
	tenant  string
	id      string // default: one of its own
	body    []byte
	chunked bool
	header  http.Header
	trailer http.Header
}

// response is the answer, read to its end.
type response struct {
	*http.Response
	body []byte
}

// send sends r and reads the whole answer.
func (w *world) send(ctx context.Context, r request) (response, error) {
	req, err := r.build(ctx)
	if err != nil {
		return response{}, err
	}
	if r.proto == "" {
		r.proto = "HTTP/1.1"
	}
	res, err := w.clients[r.proto].transport.RoundTrip(req)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return response{res, body}, err
}

func (r request) build(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	if r.method == "" {
		r.method = map[bool]string{false: http.MethodGet, true: http.MethodPost}[body != nil]
	}
	if r.path == "" {
		r.path = "/echo"
	}
	if r.site == "" {
		r.site = defaultSite
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+r.site+r.path, body)
	if err != nil {
		return nil, err
	}
	if r.chunked {
		req.ContentLength = -1
		if len(r.body) == 0 {
			req.Body = io.NopCloser(body) // not http.NoBody, which is never sent in chunks
		}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Trailer = r.trailer
	if r.tenant != "" {
		req.Header.Set("X-Tenant-ID", r.tenant)
	}
	req.Header.Set(upstream.RequestID, r.id)
	return req, nil
}

// must sends r and ends the test unless there is an answer.
func (w *world) must(r request) response {
	w.Helper()
	res, err := w.send(w.ctx, r)
	if err != nil {
		w.Fatalf("%s: %v", r.id, err)
	}
	return res
}

// expect sends r and checks the answer's status.
func (w *world) expect(r request, status int) response {
	w.Helper()
	res := w.must(r)
	if res.StatusCode != status {
		w.Errorf("%s: status %d (%s), not %d: %q", r.id, res.StatusCode, res.Header.Get("Upstream-Auth-Error"), status, res.body)
	}
	return res
}

// delivered checks what both ends saw of r: an answer 200 that echoes it, one
// delivery under the name of the tenant, and none under another's.
func (w *world) delivered(r request, res response) error {
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d (%s): %q", r.id, res.StatusCode, res.Header.Get("Upstream-Auth-Error"), res.body)
	}
	want := upstream.Echo{Tenant: r.tenant, Digest: upstream.DigestOf(r.body)}
	var echo upstream.Echo
	if err := json.Unmarshal(res.body, &echo); err != nil || echo != want {
		return fmt.Errorf("%s: answer %q, %v, wanted %+v", r.id, res.body, err, want)
	}
	return w.deliveredOnce(r)
}

// deliveredOnce checks what the upstream saw of r.
func (w *world) deliveredOnce(r request) error {
	count := 0
	for _, a := range w.api.Attempts(r.id) {
		if a.Number > 2 {
			return fmt.Errorf("%s: attempt %d", r.id, a.Number)
		}
		if !a.Accepted {
			continue
		}
		if a.Tenant != r.tenant || !a.Delivered() || a.Digest != upstream.DigestOf(r.body) {
			return fmt.Errorf("%s: delivered as %+v", r.id, a)
		}
		if tenant := a.Header.Get("X-Tenant-ID"); tenant != "" {
			return fmt.Errorf("%s: the upstream saw the tenant header", r.id)
		}
		count++
	}
	if count != 1 {
		return fmt.Errorf("%s: delivered %d times", r.id, count)
	}
	return nil
}
