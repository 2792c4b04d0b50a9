package refresh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant       = credential.Tenant("tenant-canary")
	clientSecret = "canary-client-secret"
)

var key = credential.Key{Provider: "crm", Tenant: tenant}

// fixture is a coordinator with a store in memory and a scripted token endpoint.
type fixture struct {
	*Coordinator
	t        *testing.T
	store    *storetest.Memory
	cache    *credential.Cache
	provider *Provider
	log      *buffer

	asked    atomic.Int64 // token requests
	inFlight atomic.Int64 // now
	most     atomic.Int64 // at once

	mu     sync.Mutex
	answer func(form url.Values) (int, string) // status and body, or 0: no answer
}

// newFixture has a document with access token a1 and refresh token r1, and an
// endpoint that rotates both: r1 gives a2 and r2. It checks in the end that no
// log line has a token, the secret or the tenant in it.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, store: storetest.NewMemory(), log: &buffer{}}
	f.answer = rotate
	f.cache = credential.NewCache(f.store, credential.CacheOptions{})
	f.Coordinator = New(f.cache, Options{Transport: f})
	f.provider = f.newProvider(nil)
	f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"kept"}`)
	t.Cleanup(func() {
		f.wait()
		for _, secret := range []string{"canary-", string(tenant)} {
			if strings.Contains(f.log.String(), secret) {
				t.Errorf("the log has %q in it:\n%s", secret, f.log.String())
			}
		}
	})
	return f
}

func (f *fixture) newProvider(change func(*scheme.OAuth2)) *Provider {
	f.t.Helper()
	o := &scheme.OAuth2{TokenURL: "https://as.example/token", ClientID: text(f.t, "client"), ClientSecret: text(f.t, clientSecret)}
	if change != nil {
		change(o)
	}
	s, err := scheme.New(scheme.Options{OAuth2: o})
	if err != nil {
		f.t.Fatal(err)
	}
	return &Provider{Name: key.Provider, Scheme: s, Fingerprint: "1", Logger: slog.New(slog.NewTextHandler(f.log, nil))}
}

func text(t testing.TB, s string) *scheme.Template {
	t.Helper()
	parsed, err := scheme.ParseTemplate(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// rotate answers canary-r1 with canary-a2 and canary-r2, and so on.
func rotate(form url.Values) (int, string) {
	var n int
	if _, err := fmt.Sscanf(form.Get("refresh_token"), "canary-r%d", &n); err != nil {
		return 400, `{"error":"invalid_grant"}`
	}
	return 200, fmt.Sprintf(`{"access_token":"canary-a%d","refresh_token":"canary-r%d"}`, n+1, n+1)
}

func always(status int, body string) func(url.Values) (int, string) {
	return func(url.Values) (int, string) { return status, body }
}

func (f *fixture) answers(answer func(url.Values) (int, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// RoundTrip is the token endpoint.
func (f *fixture) RoundTrip(req *http.Request) (*http.Response, error) {
	connected(req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	f.asked.Add(1)
	f.most.Store(max(f.most.Load(), f.inFlight.Add(1)))
	defer f.inFlight.Add(-1)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	answer := f.answer
	f.mu.Unlock()
	status, text := answer(form)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if status == 0 {
		return nil, errors.New("reset after canary-r1")
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

// connected is what a transport does when its connection is up. It returns when
// the request may be sent, or its context has ended.
func connected(req *http.Request) {
	httptrace.ContextClientTrace(req.Context()).GotConn(httptrace.GotConnInfo{})
}

// put writes the document as somebody from outside.
func (f *fixture) put(document string) *credential.Credential {
	f.t.Helper()
	held, err := f.store.Get(context.Background(), key)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		f.t.Fatal(err)
	}
	if _, err := f.store.Put(context.Background(), key, []byte(document), held.Version); err != nil {
		f.t.Fatal(err)
	}
	return f.stored()
}

// commits reports whether op of the store is a write that follows a token request.
func (f *fixture) commits(op string) bool { return op == storetest.OpPut && f.asked.Load() > 0 }

func (f *fixture) stored() *credential.Credential {
	f.t.Helper()
	doc, err := f.store.Get(context.Background(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return parse(f.t, doc)
}

func parse(t testing.TB, doc credential.Document) *credential.Credential {
	t.Helper()
	c, err := credential.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) cached() *credential.Credential {
	f.t.Helper()
	c, err := f.cache.Get(context.Background(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) refresh(rejected *credential.Credential) (*credential.Credential, error) {
	return f.Refresh(context.Background(), f.provider, tenant, rejected)
}

// wait ends the test if a flight takes longer than all its deadlines together.
func (f *fixture) wait() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.Wait(ctx); err != nil {
		f.t.Error("a flight does not end")
	}
}

func (f *fixture) wantAsked(want int64) {
	f.t.Helper()
	if got := f.asked.Load(); got != want {
		f.t.Fatalf("%d token requests, want %d", got, want)
	}
}

func wantToken(t testing.TB, c *credential.Credential, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatalf("no credential: %v; want %s", err, want)
	}
	if got := c.Get("access_token").Str; got != want {
		t.Fatalf("access token %s, want %s", got, want)
	}
}

// wantError also checks that the error tells no secret.
func wantError(t testing.TB, c *credential.Credential, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || c != nil {
		t.Fatalf("got %v, %v; want %v", c, err, want)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Fatalf("the error tells a secret: %v", err)
	}
}

func wantDocument(t testing.TB, c *credential.Credential, want string) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(c.JSON(), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
		t.Fatalf("document is %s, want %s", c.Stored(), want)
	}
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
