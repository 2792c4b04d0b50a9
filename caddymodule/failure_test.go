package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestErrorsSayWhatIsWrong(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`, key("broken"): `{"other":"canary"}`})
	s.start(t, "provider billing {\nallowed_hosts api.example.com\nheader X-Api-Key {credential.api_key}\n}", "upstream_auth billing {header.X-Upstream}")
	for name, c := range map[string]struct {
		method       string
		header       http.Header
		status       int
		code, detail string
	}{
		"nobody":                {"GET", nil, 400, "tenant_missing", "the request names no tenant"},
		"a preflight":           {"OPTIONS", http.Header{"Access-Control-Request-Method": {"PUT"}}, 400, "tenant_missing", "preflights have to be answered before upstream_auth"},
		"two at once":           {"GET", http.Header{"X-Tenant-Id": {"acme", "acme"}}, 400, "tenant_invalid", "named more than once"},
		"somebody else":         {"GET", as("globex"), 403, "tenant_unknown", "no credential for the tenant"},
		"a broken credential":   {"GET", as("broken"), 502, "credential_invalid", "cannot be used"},
		"a host not allowed":    {"POST", as("acme"), 502, "host_not_allowed", "not among the hosts"},
		"asked by HEAD":         {"HEAD", nil, 400, "tenant_missing", ""},
		"a host, asked by HEAD": {"HEAD", as("acme"), 502, "host_not_allowed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for accept, contentType := range map[string]string{
				"": "text/plain; charset=utf-8", "text/html,*/*;q=0.8": "text/plain; charset=utf-8",
				"application/json, text/plain, */*": "application/problem+json", "application/vnd.api+json": "application/problem+json",
				"text/html, application/json;q=0": "text/plain; charset=utf-8", "application/json; q=0.000, */*": "text/plain; charset=utf-8",
				"application/json;q=0, application/problem+json;q=0.01": "application/problem+json",
			} {
				header := c.header.Clone()
				if header == nil {
					header = make(http.Header)
				}
				header.Set("X-Upstream", strings.TrimPrefix(echo.URL, "http://"))
				if accept != "" {
					header.Set("Accept", accept)
				}
				res, body := s.do(t, c.method, "/", header, nil)
				if res.StatusCode != c.status || res.Header.Get("Upstream-Auth-Error") != c.code || res.Header.Get("Content-Type") != contentType {
					t.Errorf("%s: got %s %v", accept, res.Status, res.Header)
				}
				if c.detail == "" {
					if body != "" {
						t.Errorf("%s: got %q", accept, body)
					}
					continue
				}
				if !strings.Contains(body, c.code) || !strings.Contains(body, c.detail) || strings.Count(body, "\n") != 1 || strings.Contains(body, "globex") || strings.Contains(body, "canary") {
					t.Errorf("%s: got %q", accept, body)
				}
				var problem struct {
					Status       int
					Code, Detail string
				}
				if err := json.Unmarshal([]byte(body), &problem); strings.HasSuffix(contentType, "json") && (err != nil || problem.Status != c.status || problem.Code != c.code) {
					t.Errorf("%s: %v: %q", accept, err, body)
				}
			}
		})
	}
}

func TestErrorsThatNobodyHandlesHaveABody(t *testing.T) {
	s := newSidecar(t, nil)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1\nhandle_errors 5xx {\nrespond \"own page for {err.status_code}\"\n}")
	if res, body := s.get(t, "/", nil); res.StatusCode != 400 || !strings.HasPrefix(body, "tenant_missing: ") {
		t.Errorf("got %s %q", res.Status, body)
	}
	if res, body := s.get(t, "/", as("acme")); res.StatusCode != 403 || !strings.HasPrefix(body, "tenant_unknown: ") {
		t.Errorf("got %s %q", res.Status, body)
	}
}

func TestErrorsAreLeftToWhoHandlesThem(t *testing.T) {
	s := newSidecar(t, nil)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1\nhandle_errors {\nrespond \"own page for {err.status_code}\"\n}")
	res, body := s.get(t, "/", nil)
	if res.StatusCode != 400 || body != "own page for 400" || res.Header.Get("Upstream-Auth-Error") != "tenant_missing" {
		t.Errorf("got %s %q %v", res.Status, body, res.Header)
	}
}
