package caddymodule_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// ask makes a request to the administration API. A body goes as JSON unless the header
// says otherwise.
func (s *sidecar) ask(t *testing.T, method, path, body string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.admin+"/upstream_auth/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if method == http.MethodGet && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) {
		res, err = transport.RoundTrip(req) // see [sidecar.do]
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(answer)
}

// administered is a sidecar whose administration endpoint serves.
func administered(t *testing.T, credentials map[credential.Key]string) *sidecar {
	t.Helper()
	s := newSidecar(t, credentials)
	s.admin = freeAddress(t)
	return s
}

// wantCode checks that an answer is an error of ours, in the body and in the header.
func wantCode(t *testing.T, res *http.Response, body string, status int, code string) {
	t.Helper()
	var answer struct{ Error string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Errorf("the error is no JSON: %v: %s", err, body)
	}
	if got := res.Header.Get(proxy.HeaderError); res.StatusCode != status || got != code || !strings.HasPrefix(answer.Error, code+": ") {
		t.Errorf("got %d %q %s, want %d %s", res.StatusCode, got, body, status, code)
	}
}

func TestAdminRefusals(t *testing.T) {
	s := administered(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	tooLarge := `{"api_key":"` + strings.Repeat("k", rest.MaxRequestBody) + `"}`
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
		code               string
	}{
		"another provider":             {"GET", "crm/tenants/acme", "", nil, 404, "provider_unknown"},
		"a name that is no tenant's":   {"GET", "billing/tenants/a%2Fb", "", nil, 400, "tenant_invalid"},
		"a tenant without credential":  {"GET", "billing/tenants/globex", "", nil, 404, "tenant_unknown"},
		"deleting what is not there":   {"DELETE", "billing/tenants/globex", "", nil, 404, "tenant_unknown"},
		"revoking what is not there":   {"POST", "billing/tenants/globex/revoke", "{}", nil, 409, "no_revocation"},
		"a limit of nothing":           {"GET", "billing/tenants?limit=0", "", nil, 400, "request_invalid"},
		"a limit beyond all":           {"GET", "billing/tenants?limit=1001", "", nil, 400, "request_invalid"},
		"a method of other paths":      {"DELETE", "billing/tenants", "", nil, 405, "method_not_allowed"},
		"reading what is to be done":   {"GET", "billing/tenants/acme/refresh", "", nil, 405, "method_not_allowed"},
		"a form":                       {"PUT", "billing/tenants/acme", "a=b", http.Header{"Content-Type": {"text/plain"}}, 415, "request_invalid"},
		"an action as a page's form":   {"POST", "billing/tenants/acme/revoke", "", nil, 415, "request_invalid"},
		"no JSON":                      {"PUT", "billing/tenants/acme", "{", nil, 422, "credential_invalid"},
		"a credential without the key": {"PUT", "billing/tenants/acme", `{"other":"k"}`, nil, 422, "credential_invalid"},
		"the refresh protocol's field": {"PUT", "billing/tenants/acme", `{"api_key":"k","_upstream_auth":{}}`, nil, 422, "credential_invalid"},
		"a body beyond all":            {"PUT", "billing/tenants/acme", tooLarge, nil, 413, "request_too_large"},
		"one that is there already":    {"PUT", "billing/tenants/acme", `{"api_key":"n"}`, http.Header{"If-None-Match": {"*"}}, 412, "precondition_failed"},
		"another version":              {"PUT", "billing/tenants/acme", `{"api_key":"n"}`, http.Header{"If-Match": {`"7"`}}, 412, "precondition_failed"},
		"deleting another version":     {"DELETE", "billing/tenants/acme", "", http.Header{"If-Match": {`"7"`}}, 412, "precondition_failed"},
		"members of an action":         {"POST", "billing/tenants/acme/revoke", `{"force":true}`, nil, 400, "request_invalid"},
		"a refresh without oauth2":     {"POST", "billing/tenants/acme/refresh", "{}", nil, 409, "not_refreshable"},
		"withdrawing links to nowhere": {"DELETE", "billing/tenants/acme/connect-link", "", nil, 409, "connect_not_configured"},
		"a link to nowhere":            {"POST", "billing/tenants/acme/connect-link", "{}", nil, 409, "connect_not_configured"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := s.ask(t, c.method, c.path, c.body, c.header)
			wantCode(t, res, body, c.status, c.code)
			if strings.Contains(body, "acme") || strings.Contains(body, "globex") {
				t.Errorf("the error, which is logged, names the tenant: %s", body)
			}
		})
	}
	if res, body := s.ask(t, "GET", "billing/tenants/acme", "", nil); res.Header.Get("ETag") != `"1"` {
		t.Errorf("the credential was changed: %s %s", res.Header.Get("ETag"), body)
	}
}

func TestAdminAnswersHeadLikeGetWithoutABody(t *testing.T) {
	s := administered(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	for path, status := range map[string]int{"billing/tenants/acme": 200, "billing/tenants": 200, "doctor": 200, "billing/tenants/globex": 404, "billing/tenants/acme/refresh": 405} {
		if res, body := s.ask(t, "HEAD", path, "", nil); res.StatusCode != status || body != "" || path == "billing/tenants/acme" && res.Header.Get("ETag") != `"1"` {
			t.Errorf("%s: got %s %v %q", path, res.Status, res.Header, body)
		}
	}
}

// What Caddy's endpoint refuses does not come to us.
func TestAdminIsProtectedAsCaddysEndpointIs(t *testing.T) {
	s := administered(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	for name, header := range map[string]http.Header{
		"a page of somebody else's": {"Origin": {"https://evil.example"}},
		"a page without CORS":       {"Sec-Fetch-Mode": {"no-cors"}},
	} {
		if res, body := s.ask(t, "DELETE", "billing/tenants/acme", "", header); res.StatusCode < 400 || res.Header.Get(proxy.HeaderError) != "" {
			t.Errorf("%s: got %s %s", name, res.Status, body)
		}
	}
	if res, body := s.ask(t, "GET", "billing/tenants/acme", "", nil); res.StatusCode != 200 {
		t.Errorf("the credential is gone: %s", body)
	}
}

func TestAdminListsTenantsByPage(t *testing.T) {
	credentials := map[credential.Key]string{
		{Provider: "crm", Tenant: "initech"}: `{"api_key":"k"}`,
		key("broken"):                        `{"other":"k"}`,
	}
	for i := range 5 {
		credentials[key(credential.Tenant(fmt.Sprint("t", i)))] = `{"api_key":"k"}`
	}
	s := administered(t, credentials)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	if res, body := s.ask(t, "DELETE", "billing/tenants/t2", "", nil); res.StatusCode != 200 {
		t.Fatalf("deleting: %s", body)
	}
	var got []string
	after := ""
	for page := 1; ; page++ {
		_, body := s.ask(t, "GET", "billing/tenants?limit=2&after="+after, "", nil)
		var answer struct {
			Tenants []rest.Tenant
			Next    string
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if len(answer.Tenants) > 2 || page > 5 {
			t.Fatalf("page %d: %s", page, body)
		}
		for _, tenant := range answer.Tenants {
			got = append(got, tenant.ID+" "+tenant.Status)
		}
		if after = answer.Next; after == "" {
			break
		}
	}
	if want := "broken invalid, t0 ready, t1 ready, t3 ready, t4 ready"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAdminCredentialIsUsedAtOnce(t *testing.T) {
	echo := newEcho(t)
	s := administered(t, nil)
	s.start(t, strings.Replace(apiKey, "{\n", "{\nexpose account\n", 1), "upstream_auth billing "+echo.URL)
	if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 403 {
		t.Fatalf("before: %s", res.Status)
	}
	const first = `{"api_key":"first","account":"a-1"}`
	res, body := s.ask(t, "PUT", "billing/tenants/acme", first, http.Header{"If-None-Match": {"*"}})
	if res.StatusCode != 200 || res.Header.Get("ETag") != `"1"` || !strings.Contains(body, `"credentials":{"account":"a-1"}`) || !strings.Contains(body, `"written_by":"admin"`) {
		t.Fatalf("got %s %q %s", res.Status, res.Header.Get("ETag"), body)
	}
	if _, body := s.get(t, "/", as("acme")); decode(t, body).Header.Get("X-Api-Key") != "first" {
		t.Errorf("the request went out with %s", body)
	}
	if res, _ := s.ask(t, "PUT", "billing/tenants/acme", first, nil); res.Header.Get("ETag") != `"1"` {
		t.Errorf("the same again is version %s", res.Header.Get("ETag"))
	}
	if res, body := s.ask(t, "PUT", "billing/tenants/acme", `{"api_key":"second","account":"a-1"}`, http.Header{"If-Match": {`"1"`}}); res.Header.Get("ETag") != `"2"` {
		t.Errorf("got %s %s", res.Status, body)
	}
	if _, body := s.get(t, "/", as("acme")); decode(t, body).Header.Get("X-Api-Key") != "second" {
		t.Errorf("the request went out with %s", body)
	}
	if res, body := s.ask(t, "DELETE", "billing/tenants/acme", "", nil); res.StatusCode != 200 || body != "{\"deleted\":true,\"revoked\":false}\n" {
		t.Errorf("got %s %s", res.Status, body)
	}
	if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 403 {
		t.Errorf("afterwards: %s", res.Status)
	}
}

// While a configuration is loaded the endpoint is made anew before it is known whether
// that works out.
func TestAdminOutlivesAConfigurationThatFails(t *testing.T) {
	s := administered(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	text := strings.Replace(s.caddyfile(apiKey, "upstream_auth billing 127.0.0.1:1"), "key_file "+s.path("key"), "key_file "+s.path("other"), 1)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(conf, true); err == nil {
		t.Fatal("the configuration was loaded")
	}
	if res, body := s.ask(t, "GET", "billing/tenants/acme", "", nil); res.StatusCode != 200 {
		t.Errorf("got %s %s", res.Status, body)
	}
}

func TestAdminWithoutTheApp(t *testing.T) {
	s := administered(t, nil)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	if err := caddy.Load([]byte(`{"admin":{"listen":"`+s.admin+`","config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	res, body := s.ask(t, "GET", "doctor", "", nil)
	wantCode(t, res, body, 404, "not_configured")
}
