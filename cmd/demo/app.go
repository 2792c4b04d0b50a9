package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// tenantHeader is where the sidecar looks for the tenant, in canonical form.
const tenantHeader = "X-Tenant-Id"

// app is the legacy app. It knows the sidecar's address and its tenants' names.
type app struct {
	url    string
	auth   *authServer // to recognize tokens where none should be
	client *http.Client
}

func newApp(url string, auth *authServer) *app {
	return &app{url: url + "/invoices", auth: auth, client: &http.Client{
		Timeout: 30 * time.Second,
		// The sidecar is restarted in between: no connection outlives its request.
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// request makes a request for a tenant and returns what went out and what came
// back, as two events.
func (a *app) request(ctx context.Context, method, tenant string, body []byte) (sent, got event, err error) {
	var wire wireLog
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaderField: wire.wrote})
	req, err := http.NewRequestWithContext(ctx, method, a.url, bytes.NewReader(body))
	if err != nil {
		return sent, got, err
	}
	req.Header.Set(tenantHeader, tenant)
	res, err := a.client.Do(req)
	if err != nil {
		return sent, got, err
	}
	defer res.Body.Close()

	digest := sha256.Sum256(body)
	sent = event{"app sent", method + ", X-Tenant-ID: " + tenant, a.describe(wire.String())}
	if len(body) > 0 {
		sent.outcome += ", " + bodyLabel(int64(len(body)), digest[:])
	}
	got = event{"app got", res.Status, ""}
	if code := res.Header.Get("Upstream-Auth-Error"); code != "" {
		got.outcome = "Upstream-Auth-Error: " + code
	}
	if res.StatusCode == http.StatusOK {
		var r receipt
		if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
			return sent, got, fmt.Errorf("reading the API's answer: %w", err)
		}
		got.outcome = "answered for " + r.Tenant
		if r.SHA256 != fmt.Sprintf("%x", digest) {
			got.outcome += ", with another body"
		}
	}
	return sent, got, nil
}

// describe says whether there is a token in what the app sent.
func (a *app) describe(header string) string {
	if strings.Contains(header, "Authorization:") || a.auth.isIn(header) {
		return "a token"
	}
	return "no token"
}

// wireLog is the header as it was written to the connection.
type wireLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *wireLog) wrote(name string, values []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, "%s: %s\n", name, strings.Join(values, ", "))
}

func (l *wireLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
