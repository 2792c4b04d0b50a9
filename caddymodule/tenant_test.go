package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

func TestAllRequestsAreOneTenantsIfItIsNamed(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+" {\ntenant acme\n}")
	res, body := s.get(t, "/", http.Header{"Cookie": {"a=1"}, "X-Tenant-Id": {"globex"}})
	got := decode(t, body)
	if res.StatusCode != 200 || got.Header.Get("X-Api-Key") != "key-of-acme" || got.Header.Get("Cookie") != "a=1" || got.Header.Get("X-Tenant-Id") != "globex" {
		t.Errorf("got %s, and the upstream saw %v", res.Status, got.Header)
	}
	if res.Header.Get("Vary")+res.Header.Get("Cache-Control") != "" {
		t.Errorf("got %v", res.Header)
	}
}

func TestTwoPairsOfNamesAreNotOneTenant(t *testing.T) {
	t.Setenv("TENANT_REGION", "eu-west-1")
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("a-b"): `{"api_key":"k"}`, key("a-b-c"): `{"api_key":"k"}`, key("acme"): `{"api_key":"k"}`,
		key("eu-west-1-a-b"): `{"api_key":"k"}`, key("a-eu-west-1"): `{"api_key":"k"}`, key("eu-west-1"): `{"api_key":"k"}`,
	})
	for _, c := range []struct {
		tenant, path string
		header       http.Header
		want         int
		code         string
	}{
		{"{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a"}, "X-User": {"b"}}, 200, ""},
		{"{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a"}, "X-User": {"b-c"}}, 200, ""},
		{"{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a-b"}, "X-User": {"c"}}, 400, "tenant_invalid"},
		{"{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a"}}, 400, "tenant_missing"},
		{"{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a"}, "X-User": {""}}, 400, "tenant_missing"},
		{"{cookie.customer}", "/", http.Header{"Cookie": {"customer=acme"}}, 200, ""},
		{"{cookie.customer}", "/", http.Header{"Cookie": {"customer=acme; customer=globex"}}, 400, "tenant_invalid"},
		{"{http.request.cookie.customer}", "/", http.Header{"Cookie": {"customer=acme", "customer=acme"}}, 400, "tenant_invalid"},
		{"{cookie.customer}", "/", http.Header{"Cookie": {"Customer=acme; customer=globex"}}, 400, "tenant_invalid"},
		{"{cookie.customer}", "/", http.Header{"Cookie": {"Customer=acme"}}, 200, ""},
		{"{env.TENANT_REGION}-{header.X-Org}-{header.X-User}", "/", http.Header{"X-Org": {"a"}, "X-User": {"b"}}, 200, ""},
		{"{header.X-Org}-{env.TENANT_REGION}", "/", http.Header{"X-Org": {"a"}}, 200, ""},
		{"{env.TENANT_REGION}", "/", nil, 200, ""},
		{"{query.customer}", "/?customer=acme&x=1", nil, 200, ""},
		{"{http.request.uri.query.customer}", "/?customer=acme&customer=globex", nil, 400, "tenant_invalid"},
	} {
		s.start(t, apiKey, "upstream_auth billing "+echo.URL+" {\ntenant "+c.tenant+"\ncookies pass\n}")
		res, body := s.get(t, c.path, c.header)
		if res.StatusCode != c.want || res.Header.Get(proxy.HeaderError) != c.code {
			t.Errorf("%s with %v: got %s %s", c.tenant, c.header, res.Status, res.Header.Get(proxy.HeaderError))
		}
		for _, name := range []string{"acme", "X-Org", "X-User", "ustomer"} {
			if strings.Contains(body, name) {
				t.Errorf("%s: the upstream learns of the tenant: %s", c.tenant, body)
			}
		}
	}
}

func TestTraceAndConnectAreRefused(t *testing.T) {
	var asked atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+upstream.URL)
	for _, line := range []string{"TRACE / HTTP/1.1", "CONNECT " + strings.TrimPrefix(s.url, "http://") + " HTTP/1.1"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s\r\nHost: %s\r\nX-Tenant-Id: acme\r\nConnection: close\r\n\r\n", line, strings.TrimPrefix(s.url, "http://"))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 405 || res.Header.Get(proxy.HeaderError) != "method_not_allowed" || asked.Load() != 0 {
			t.Errorf("%s: got %s %q", line, res.Status, res.Header.Get(proxy.HeaderError))
		}
		conn.Close()
	}
}

// What Java's client sends when it is given a cleartext URL.
func TestWishForHTTP2IsNotSentOn(t *testing.T) {
	auth := newAuthServer(t)
	var seen []http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Header)
		if r.Header.Get("Authorization") != "Bearer canary-access-1" || string(body) != "order" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): tokens})
	s.start(t, auth.provider("billing", ""), "upstream_auth billing "+upstream.URL)
	header := as("acme")
	for name, value := range map[string]string{"Connection": "Upgrade, HTTP2-Settings, X-Hop", "Upgrade": "h2c", "Http2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", "X-Hop": "1"} {
		header.Set(name, value)
	}
	res, _ := s.do(t, http.MethodPost, "/", header, strings.NewReader("order"))
	if res.StatusCode != 200 || len(seen) == 0 {
		t.Fatalf("got %s after %d requests", res.Status, len(seen))
	}
	for _, name := range []string{"Connection", "Upgrade", "Http2-Settings", "X-Hop"} {
		if value := seen[len(seen)-1].Get(name); value != "" {
			t.Errorf("the upstream saw %s: %s", name, value)
		}
	}
}
