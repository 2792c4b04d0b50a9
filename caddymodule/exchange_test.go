package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestTenantIsKnownToTheProxyAndNotToTheUpstream(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+` {
		header_up X-Customer {http.request.header.X-Tenant-ID}
	}`)
	res, body := s.get(t, "/", as("acme"))
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	got := decode(t, body)
	if got.Header.Get("X-Customer") != "acme" || got.Header.Get("X-Tenant-Id") != "" {
		t.Errorf("the upstream saw %q and %q", got.Header.Get("X-Customer"), got.Header.Get("X-Tenant-Id"))
	}
}

func TestExchangeShowsNothing(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+` {
		header_down X-Exchange {http.vars.`+caddymodule.ExchangeVar+`}
	}`)
	res, _ := s.get(t, "/", as("acme"))
	if got := res.Header.Get("X-Exchange"); got == "" || strings.Contains(got, "acme") {
		t.Errorf("the exchange is shown as %q", got)
	}
}
