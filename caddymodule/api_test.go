package caddymodule_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const workspaceSecret = "a workspace secret of more than 32 bytes"

// sign makes a token of claims, with exp unless they have one.
func sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(workspaceSecret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "iss": "workspace"}
	maps.Copy(all, claims)
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// apiSidecar is a sidecar with the API for the provider billing beside the proxy.
type apiSidecar struct {
	*sidecar
	*testing.T
}

const exposedKey = `provider billing {
	header X-Api-Key {credential.api_key}
	expose account
}`

func startAPI(t *testing.T, provider, settings, site string) *apiSidecar {
	t.Helper()
	s := &apiSidecar{newSidecar(t, nil), t}
	if err := os.WriteFile(s.path("workspace"), []byte(workspaceSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, provider, `upstream_auth_api billing {
		token hs256 {
			secret_file `+s.path("workspace")+`
		}
		issuer workspace
		operators role operator
		`+settings+`
	}
	`+site)
	return s
}

// as is the header of a caller with claims.
func (s *apiSidecar) with(claims map[string]any) http.Header {
	s.Helper()
	return http.Header{"Authorization": {"Bearer " + sign(s.T, claims)}, "Content-Type": {"application/json"}}
}

func (s *apiSidecar) tenant(name string) http.Header { return s.with(map[string]any{"id": name}) }

func (s *apiSidecar) operator() http.Header { return s.with(map[string]any{"role": "operator"}) }

// call makes a request and returns its status and its answer, a JSON object.
func (s *apiSidecar) call(method, path string, header http.Header, body string) (int, map[string]any, http.Header) {
	s.Helper()
	res, text := s.do(s.T, method, path, header, strings.NewReader(body))
	answer := make(map[string]any)
	if text != "" {
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			s.Fatalf("%s %s: %d %q is no JSON object", method, path, res.StatusCode, text)
		}
	}
	if strings.Contains(text, "key-of") || strings.Contains(text, workspaceSecret) {
		s.Errorf("%s %s: the answer has a secret in it: %s", method, path, text)
	}
	return res.StatusCode, answer, res.Header
}

// next is a site's directive that answers "next" to all that comes to it.
func next(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("next")) }))
	t.Cleanup(server.Close)
	return "reverse_proxy " + server.URL
}

func TestTenantBringsItsOwnCredential(t *testing.T) {
	echo := newEcho(t)
	s := startAPI(t, exposedKey, "", "upstream_auth billing "+echo.URL)
	status, answer, header := s.call("GET", "/self", s.tenant("acme"), "")
	if status != 200 || answer["id"] != "acme" || answer["credentials"] != nil || header.Get("ETag") != "" {
		t.Errorf("before: %d %v", status, answer)
	}
	if res, _ := s.get(t, "/invoices", as("acme")); res.StatusCode != http.StatusForbidden {
		t.Errorf("proxied before: %s", res.Status)
	}
	for i, key := range []string{"key-of-acme", "other-key-of-acme"} {
		status, answer, header = s.call("PATCH", "/self", s.tenant("acme"), `{"credentials":{"api_key":"`+key+`","account":"A-7","note":"key-of"}}`)
		credentials, _ := answer["credentials"].(map[string]any)
		if status != 200 || answer["id"] != "acme" || answer["provider"] != "billing" || answer["status"] != "ready" ||
			len(credentials) != 1 || credentials["account"] != "A-7" || answer["written_by"] != "api" {
			t.Errorf("patched: %d %v", status, answer)
		}
		if want := []string{`"1"`, `"2"`}[i]; header.Get("ETag") != want || header.Get("Cache-Control") != "no-store" {
			t.Errorf("header %v", header)
		}
		res, body := s.get(t, "/invoices", as("acme"))
		if res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != key {
			t.Errorf("proxied: %s %s", res.Status, body)
		}
		if status, again, _ := s.call("GET", "/self", s.tenant("acme"), ""); status != 200 || again["version"] != float64(i+1) {
			t.Errorf("got %d %v", status, again)
		}
	}
}

// Whatever a tenant's token is used for, it reaches its own credential alone.
func TestTenantsAreApart(t *testing.T) {
	echo := newEcho(t)
	s := startAPI(t, exposedKey, "", "upstream_auth billing "+echo.URL)
	for _, name := range []string{"acme", "globex"} {
		if status, answer, _ := s.call("PATCH", "/self", s.tenant(name), `{"credentials":{"api_key":"key-of-`+name+`","account":"`+name+`"}}`); status != 200 {
			t.Fatal(status, answer)
		}
	}
	for name, c := range map[string]struct{ method, path, body string }{
		"read":                    {"GET", "/tenants/acme", ""},
		"write":                   {"PUT", "/tenants/acme", `{"credentials":{"api_key":"stolen"}}`},
		"patch":                   {"PATCH", "/tenants/acme", `{"credentials":{"api_key":"stolen"}}`},
		"delete":                  {"DELETE", "/tenants/acme", ""},
		"link":                    {"POST", "/tenants/acme/connect-link", ""},
		"links":                   {"DELETE", "/tenants/acme/connect-link", ""},
		"its own, as an operator": {"GET", "/tenants/globex", ""},
		"disable":                 {"PATCH", "/self", `{"disabled":true}`},
	} {
		status, answer, _ := s.call(c.method, c.path, s.tenant("globex"), c.body)
		if status != 403 || answer["code"] != "access_denied" || answer["key"] != "access_denied" {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	// Another tenant's name in header, query or body is nobody's word.
	header := s.tenant("globex")
	header.Set("X-Tenant-ID", "acme")
	status, answer, _ := s.call("GET", "/self?id=acme&tenant=acme", header, "")
	if credentials, _ := answer["credentials"].(map[string]any); status != 200 || answer["id"] != "globex" || credentials["account"] != "globex" {
		t.Errorf("got %d %v", status, answer)
	}
	for name, want := range map[string]string{"acme": "key-of-acme", "globex": "key-of-globex"} {
		if res, body := s.get(t, "/", as(name)); res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != want {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
	}
}

func TestAPIRefuses(t *testing.T) {
	s := startAPI(t, apiKey, "audience sidecar", "")
	good := map[string]any{"id": "acme", "aud": "sidecar"}
	with := func(claims map[string]any) http.Header {
		all := maps.Clone(good)
		maps.Copy(all, claims)
		return s.with(all)
	}
	plain := func(authorization ...string) http.Header {
		return http.Header{"Authorization": authorization, "Content-Type": {"application/json"}}
	}
	none := "eyJhbGciOiJub25lIn0.eyJpZCI6ImFjbWUiLCJpc3MiOiJ3b3Jrc3BhY2UiLCJhdWQiOiJzaWRlY2FyIiwiZXhwIjo0MTAyNDQ0ODAwfQ."
	text := with(nil)
	text.Set("Content-Type", "text/plain")
	matching := with(nil)
	matching.Set("If-Match", `"7"`)
	listed := with(nil)
	listed.Set("If-None-Match", `"7"`)
	const patch = `{"credentials":{"api_key":"key-of-acme"}}`
	for name, c := range map[string]struct {
		method, path string
		header       http.Header
		body         string
		status       int
		code         string
	}{
		"no token":             {"GET", "/self", nil, "", 401, "token_missing"},
		"basic":                {"GET", "/self", plain("Basic YTpi"), "", 401, "token_missing"},
		"garbage":              {"GET", "/self", plain("Bearer abc"), "", 401, "token_invalid"},
		"alg none":             {"GET", "/self", plain("Bearer " + none), "", 401, "token_invalid"},
		"two tokens":           {"GET", "/self", plain("Bearer a", "Bearer b"), "", 401, "token_invalid"},
		"expired":              {"GET", "/self", with(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "", 401, "token_expired"},
		"not yet valid":        {"GET", "/self", with(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), "", 401, "token_invalid"},
		"wrong issuer":         {"GET", "/self", with(map[string]any{"iss": "other"}), "", 401, "token_invalid"},
		"wrong audience":       {"GET", "/self", with(map[string]any{"aud": "other"}), "", 401, "token_invalid"},
		"tenant is a path":     {"GET", "/self", with(map[string]any{"id": "../acme"}), "", 401, "token_invalid"},
		"no tenant":            {"GET", "/self", s.with(map[string]any{"aud": "sidecar"}), "", 401, "token_invalid"},
		"unknown method":       {"DELETE", "/self", with(nil), "", 405, "method_not_allowed"},
		"PUT of self":          {"PUT", "/self", with(nil), patch, 405, "method_not_allowed"},
		"GET of a link":        {"GET", "/self/connect-link", with(nil), "", 405, "method_not_allowed"},
		"withdrawing links":    {"DELETE", "/self/connect-link", with(nil), "", 409, "connect_not_configured"},
		"link not configured":  {"POST", "/self/connect-link", with(nil), "", 409, "connect_not_configured"},
		"no body":              {"PATCH", "/self", with(nil), "", 400, "request_invalid"},
		"no JSON":              {"PATCH", "/self", with(nil), "{", 400, "request_invalid"},
		"no object":            {"PATCH", "/self", with(nil), "[]", 400, "request_invalid"},
		"nothing to change":    {"PATCH", "/self", with(nil), "{}", 400, "request_invalid"},
		"null":                 {"PATCH", "/self", with(nil), `{"credentials":null}`, 422, "credential_invalid"},
		"text for credentials": {"PATCH", "/self", with(nil), `{"credentials":"key-of-acme"}`, 422, "credential_invalid"},
		"unknown member":       {"PATCH", "/self", with(nil), `{"credentials":{"api_key":"k"},"name":"x"}`, 400, "request_invalid"},
		"member twice":         {"PATCH", "/self", with(nil), `{"credentials":{"api_key":"k"},"credentials":{"api_key":"key-of-acme"}}`, 400, "request_invalid"},
		"member in capitals":   {"PATCH", "/self", with(nil), `{"Credentials":{"api_key":"k"}}`, 400, "request_invalid"},
		"two that look alike":  {"PATCH", "/self", with(nil), `{"credentials":{"api_key":"k"},"credential\u017f":{"api_key":"key-of-acme"}}`, 400, "request_invalid"},
		"something behind it":  {"PATCH", "/self", with(nil), patch + patch, 400, "request_invalid"},
		"content type":         {"PATCH", "/self", text, patch, 415, "request_invalid"},
		"breaks the schema":    {"PATCH", "/self", with(nil), `{"credentials":{"key":"key-of-acme"}}`, 422, "credential_invalid"},
		"reserved key":         {"PATCH", "/self", with(nil), `{"credentials":{"api_key":"k","_upstream_auth":{}}}`, 422, "credential_invalid"},
		"too large":            {"PATCH", "/self", with(nil), `{"credentials":{"api_key":"` + strings.Repeat("x", 2<<20) + `"}}`, 413, "request_too_large"},
		"deep":                 {"PATCH", "/self", with(nil), `{"credentials":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10001), 400, "request_invalid"},
		"another version":      {"PATCH", "/self", matching, patch, 412, "precondition_failed"},
		"If-None-Match":        {"PATCH", "/self", listed, patch, 400, "request_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, header := s.call(c.method, c.path, c.header, c.body)
			if status != c.status || answer["code"] != c.code || answer["message"] == "" || answer["type"] == "" {
				t.Errorf("got %d %v, want %d %s", status, answer, c.status, c.code)
			}
			if challenge := header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("challenge %q", challenge)
			}
			if status == 405 && header.Get("Allow") == "" {
				t.Error("nothing is said to be allowed")
			}
		})
	}
	if status, answer, _ := s.call("GET", "/self", with(nil), ""); status != 200 || answer["credentials"] != nil {
		t.Errorf("after all that: %d %v", status, answer)
	}
}

// What a caller wants to hold must not be taken for nothing.
func TestPreconditionsOfAnAPI(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		status int // of a PATCH of version 1
	}{
		"none":                    {nil, 200},
		"this version":            {http.Header{"If-Match": {`"1"`}}, 200},
		"one of a list":           {http.Header{"If-Match": {`"7,1", "8"`, ` , "1"`}}, 200},
		"another version":         {http.Header{"If-Match": {`"2"`}}, 412},
		"weak":                    {http.Header{"If-Match": {`W/"1"`}}, 412},
		"without quotes":          {http.Header{"If-Match": {`1`}}, 412},
		"spelled otherwise":       {http.Header{"If-Match": {`"01"`}}, 412},
		"within another":          {http.Header{"If-Match": {`"7,1"`}}, 412},
		"empty":                   {http.Header{"If-Match": {""}}, 412},
		"a list of nothing":       {http.Header{"If-Match": {" , "}}, 412},
		"any version":             {http.Header{"If-Match": {"*"}}, 200},
		"no version":              {http.Header{"If-None-Match": {"*"}}, 412},
		"no version, empty":       {http.Header{"If-None-Match": {""}}, 400},
		"no version that we know": {http.Header{"If-None-Match": {`"1"`}}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t, apiKey, "", "")
			if status, answer, _ := s.call("PATCH", "/self", s.tenant("acme"), `{"credentials":{"api_key":"key-of-acme"}}`); status != 200 {
				t.Fatal(status, answer)
			}
			header := s.tenant("acme")
			maps.Copy(header, c.header)
			if status, answer, _ := s.call("PATCH", "/self", header, `{"credentials":{"api_key":"other-key-of-acme"}}`); status != c.status {
				t.Errorf("got %d %v, want %d", status, answer, c.status)
			}
		})
	}
}

func TestOperatorsManageTenants(t *testing.T) {
	s := startAPI(t, apiKey, "", "")
	const body = `{"credentials":{"api_key":"key-of-acme"}}`
	create := s.operator()
	create.Set("If-None-Match", "*")
	for i, step := range []struct {
		method string
		header http.Header
		body   string
		status int
		check  func(answer map[string]any) bool
	}{
		{"GET", s.operator(), "", 404, nil},
		{"PATCH", s.operator(), `{"disabled":true}`, 404, nil},
		{"DELETE", s.operator(), "", 404, nil},
		{"PUT", s.operator(), `{"disabled":true}`, 400, nil},
		{"PUT", create, body, 200, func(a map[string]any) bool { return a["id"] == "acme" && a["version"] == 1.0 }},
		{"PUT", create, body, 412, nil},
		{"GET", s.operator(), "", 200, func(a map[string]any) bool { return a["status"] == "ready" }},
		{"PATCH", s.operator(), `{"disabled":true}`, 200, func(a map[string]any) bool { return a["disabled"] == true }},
		{"PATCH", s.operator(), body, 200, func(a map[string]any) bool { return a["disabled"] == true }},
		{"PATCH", s.operator(), `{"disabled":false}`, 200, func(a map[string]any) bool { return a["disabled"] == nil }},
		{"DELETE", s.operator(), "", 200, func(a map[string]any) bool { return a["deleted"] == true && a["revoked"] == false }},
		{"GET", s.operator(), "", 404, nil},
		{"PUT", s.operator(), body, 200, nil},
	} {
		status, answer, _ := s.call(step.method, "/tenants/acme", step.header, step.body)
		if status != step.status || step.check != nil && !step.check(answer) {
			t.Errorf("step %d, %s: %d %v", i, step.method, status, answer)
		}
	}
	if status, answer, _ := s.call("GET", "/tenants/.acme", s.operator(), ""); status != 400 || answer["code"] != "tenant_invalid" {
		t.Errorf("a bad name: %d %v", status, answer)
	}
	for _, roles := range []any{"Operator", "operators", []string{"reader"}, true, map[string]any{"operator": true}} {
		if status, answer, _ := s.call("GET", "/tenants/acme", s.with(map[string]any{"id": "acme", "role": roles}), ""); status != 403 {
			t.Errorf("%v is an operator: %d %v", roles, status, answer)
		}
	}
	if status, _, _ := s.call("GET", "/tenants/acme", s.with(map[string]any{"role": []string{"reader", "operator"}}), ""); status != 200 {
		t.Errorf("one of several roles: %d", status)
	}
}

// RFC 9110, section 9.3.2.
func TestHEADIsGETWithoutABody(t *testing.T) {
	s := startAPI(t, apiKey, "", "")
	if status, answer, _ := s.call("PUT", "/tenants/acme", s.operator(), `{"credentials":{"api_key":"key-of-acme"}}`); status != 200 {
		t.Fatal(status, answer)
	}
	for path, status := range map[string]int{"/self": 200, "/tenants/acme": 200, "/tenants/globex": 404, "/self/connect-link": 405} {
		header := s.with(map[string]any{"id": "acme", "role": "operator"})
		res, body := s.do(t, "HEAD", path, header, nil)
		if res.StatusCode != status || body != "" || (res.Header.Get("ETag") == `"1"`) != (status == 200) {
			t.Errorf("%s: %s %v %q", path, res.Status, res.Header, body)
		}
	}
	_, _, header := s.call("PUT", "/self", s.tenant("acme"), "{}")
	if allow := header.Get("Allow"); allow != "GET, HEAD, PATCH" {
		t.Errorf("allowed are %q", allow)
	}
}

func TestWebPagesThatMayUseTheAPI(t *testing.T) {
	s := startAPI(t, exposedKey, "cors_origins https://app.example http://localhost:3000", next(t))
	preflight := func(origin string) *http.Response {
		res, _ := s.do(t, "OPTIONS", "/self", http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"PATCH"},
			"Access-Control-Request-Headers": {"authorization,content-type,membrane-api-version,b@d"},
		}, nil)
		return res
	}
	for _, origin := range []string{"https://app.example", "http://localhost:3000"} {
		res := preflight(origin)
		if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != origin ||
			!strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "PATCH") ||
			res.Header.Get("Access-Control-Allow-Headers") != "authorization, content-type, membrane-api-version" ||
			res.Header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: %s %v", origin, res.Status, res.Header)
		}
		header := s.tenant("acme")
		header.Set("Origin", origin)
		if status, _, got := s.call("GET", "/self", header, ""); status != 200 || got.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s: %d %v", origin, status, got)
		}
		if status, _, got := s.call("GET", "/self", http.Header{"Origin": {origin}}, ""); status != 401 || got.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s cannot read its error: %d %v", origin, status, got)
		}
	}
	for _, origin := range []string{"https://evil.example", "https://app.example.evil.example", "http://app.example", "https://APP.example", "null", "https://app.example:443", ""} {
		if res := preflight(origin); res.StatusCode < 400 || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %s %v", origin, res.Status, res.Header)
		}
	}
}

func TestOtherPathsAreNotTheAPIs(t *testing.T) {
	s := startAPI(t, exposedKey, "", next(t))
	for _, path := range []string{"/", "/selfish", "/self/", "/self/x", "/tenants", "/tenants/", "/tenants/acme/", "/tenants/acme/x", "/tenants/acme/connect-link/x", "/x/self"} {
		if _, body := s.get(t, path, nil); body != "next" {
			t.Errorf("%s: %q", path, body)
		}
	}
}

func TestAPIBelowAPath(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, nil)
	if err := os.WriteFile(s.path("workspace"), []byte(workspaceSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, apiKey, `handle_path /credentials/* {
		upstream_auth_api billing {
			token hs256 {
				secret_file `+s.path("workspace")+`
			}
		}
	}
	handle {
		upstream_auth billing `+echo.URL+`
	}`)
	a := &apiSidecar{s, t}
	if status, answer, _ := a.call("PATCH", "/credentials/self", a.tenant("acme"), `{"credentials":{"api_key":"key-of-acme"}}`); status != 200 {
		t.Fatal(status, answer)
	}
	if res, body := s.get(t, "/self", as("acme")); res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != "key-of-acme" {
		t.Errorf("%s %s", res.Status, body)
	}
}

func TestTenantUnknownToTheStoreIsFetched(t *testing.T) {
	echo := newEcho(t)
	asked := make(chan string, 10)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("tenant") + " " + r.Header.Get("X-App-Token")
		if r.URL.Query().Get("tenant") == "nobody" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(`{"api_key":"key-of-acme"}`))
	}))
	t.Cleanup(app.Close)
	t.Setenv("APP_TOKEN", "app-token")
	s := newSidecar(t, map[credential.Key]string{key("globex"): `{"api_key":"key-of-globex"}`})
	s.start(t, `provider billing {
		header X-Api-Key {credential.api_key}
		fetch_credentials `+app.URL+`/credentials {
			header X-App-Token {env.APP_TOKEN}
		}
	}`, "upstream_auth billing "+echo.URL)
	for tenant, want := range map[string]string{"acme": "key-of-acme", "globex": "key-of-globex"} {
		if res, body := s.get(t, "/", as(tenant)); res.StatusCode != 200 || decode(t, body).Header.Get("X-Api-Key") != want {
			t.Errorf("%s: %s %s", tenant, res.Status, body)
		}
	}
	if got := <-asked; got != "acme app-token" || len(asked) != 0 {
		t.Errorf("the application was asked for %q, and %d times more", got, len(asked))
	}
	for range 3 {
		if res, _ := s.get(t, "/", as("nobody")); res.StatusCode != 403 || res.Header.Get("Upstream-Auth-Error") != "tenant_unknown" {
			t.Errorf("nobody: %s %v", res.Status, res.Header)
		}
	}
	if got := <-asked; got != "nobody app-token" || len(asked) != 0 {
		t.Errorf("the application was asked for %q, and %d times more", got, len(asked))
	}
}

func TestKeyRejectedByTheUpstreamIsFetchedAnew(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "new" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(upstream.Close)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"api_key":"new"}`))
	}))
	t.Cleanup(app.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"old"}`})
	s.start(t, "provider billing {\nheader X-Api-Key {credential.api_key}\nfetch_credentials "+app.URL+"\n}", "upstream_auth billing "+upstream.URL)
	if res, _ := s.do(t, "POST", "/", as("acme"), strings.NewReader("question")); res.StatusCode != 200 {
		t.Errorf("got %s %v", res.Status, res.Header)
	}
}
