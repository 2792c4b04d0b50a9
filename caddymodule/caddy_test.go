package caddymodule_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/localstore"
)

// sidecar is a real Caddy in this process, on a local store.
type sidecar struct {
	url     string
	address string
	dir     string
	admin   string // address of the administration endpoint; empty: it is off
	site    string // the site's address; empty: its port, at this machine alone
}

// newSidecar fills a local store; start runs Caddy on it.
func newSidecar(t testing.TB, credentials map[credential.Key]string) *sidecar {
	t.Helper()
	s := &sidecar{dir: t.TempDir()}
	store, err := localstore.New(localstore.Config{Path: s.path("credentials.db"), KeyFile: s.path("key")})
	if err != nil {
		t.Fatal(err)
	}
	for key, document := range credentials {
		if _, err := store.Put(t.Context(), key, []byte(document), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s.address = freeAddress(t)
	s.url = "http://" + s.address
	return s
}

// freeAddress is one that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (s *sidecar) path(name string) string { return filepath.Join(s.dir, name) }

// caddyfile is a Caddyfile with the store, the providers and one site.
func (s *sidecar) caddyfile(providers, site string) string {
	_, port, _ := net.SplitHostPort(s.address)
	if s.site == "" && !strings.HasPrefix(site, "bind ") {
		site = "bind 127.0.0.1\n" + site
	}
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	storage file_system %s
	log {
		level ERROR
	}
	upstream_auth {
		store local %s {
			key_file %s
		}
		%s
	}
}
%s {
	%s
}
`, cmp.Or(s.admin, "off"), s.dir, s.path("credentials.db"), s.path("key"), providers, cmp.Or(s.site, ":"+cmp.Or(port, "8080")), site)
}

// load makes Caddy run a configuration, in place of any before.
func (s *sidecar) load(t testing.TB, providers, site string) {
	t.Helper()
	loadText(t, s.caddyfile(providers, site))
}

func loadText(t testing.TB, text string) {
	t.Helper()
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(conf, true); err != nil {
		t.Fatal(err)
	}
}

// start is load, and stops Caddy when the test ends.
func (s *sidecar) start(t testing.TB, providers, site string) {
	t.Helper()
	startText(t, s.caddyfile(providers, site))
}

func startText(t testing.TB, text string) {
	t.Helper()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	loadText(t, text)
}

// get makes a request as the legacy app does.
func (s *sidecar) get(t *testing.T, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	return s.do(t, http.MethodGet, path, header, nil)
}

func (s *sidecar) do(t *testing.T, method, path string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	return send(t, &http.Transport{DisableKeepAlives: true}, req)
}

// send makes a request, and reads its answer.
func send(t *testing.T, transport http.RoundTripper, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := transport.RoundTrip(req)
	for (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && req.Body == nil {
		// After a reload Caddy closes connections that the configuration before has
		// accepted, or is about to, and not read from: with any handler.
		res, err = transport.RoundTrip(req)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

// as is the header of a request on a tenant's behalf.
func as(tenant string) http.Header { return http.Header{"X-Tenant-Id": {tenant}} }

// seen is what an upstream saw of a request.
type seen struct {
	Method, URI, Host, Body string
	Header                  http.Header
}

// newEcho is an upstream that answers with what it saw.
func newEcho(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, string(body), r.Header})
	}))
	t.Cleanup(server.Close)
	return server
}

// decode reads the answer of newEcho.
func decode(t *testing.T, text string) seen {
	t.Helper()
	var s seen
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&s); err != nil {
		t.Fatalf("the upstream did not answer: %v: %s", err, text)
	}
	return s
}

// key names a credential of the provider billing.
func key(tenant credential.Tenant) credential.Key {
	return credential.Key{Provider: "billing", Tenant: tenant}
}

// apiKey is a provider that sends an API key.
const apiKey = `provider billing {
	header X-Api-Key {credential.api_key}
}`
