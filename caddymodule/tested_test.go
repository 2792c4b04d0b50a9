package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// testedAPI is an upstream that answers /me by the credential.
type testedAPI struct {
	*httptest.Server
	asked atomic.Int64
}

func newTestedAPI(t *testing.T) *testedAPI {
	t.Helper()
	u := new(testedAPI)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.asked.Add(1)
		w.Header().Set("X-Secret", "canary of the answer")
		switch r.Header.Get("Authorization") + r.Header.Get("X-Api-Key") {
		case "Bearer canary-access-1", "canary-good":
		case "canary-forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "canary-broken":
			w.WriteHeader(http.StatusBadGateway)
		case "canary-elsewhere":
			http.Redirect(w, r, "/other", http.StatusFound)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, "canary of the answer")
	}))
	t.Cleanup(u.Close)
	return u
}

const (
	fresh = `{"access_token":"canary-access-%s","refresh_token":"canary-refresh-0","expires_at":"2099-01-01T00:00:00Z"}`
	past  = `{"access_token":"canary-access-1","refresh_token":"canary-refresh-0","expires_at":"2020-01-01T00:00:00Z"}`
)

// testedSidecar has tenants of all kinds, and providers with and without a test.
func testedSidecar(t *testing.T) (*sidecar, *testedAPI, *authServer) {
	t.Helper()
	u, auth := newTestedAPI(t), newAuthServer(t)
	of := func(provider, tenant string) credential.Key {
		return credential.Key{Provider: provider, Tenant: credential.Tenant(tenant)}
	}
	documents := map[credential.Key]string{
		of("crm", "acme"): fmt.Sprintf(fresh, "1"), of("crm", "expired"): past, of("crm", "rejected"): fmt.Sprintf(fresh, "old"),
		of("plain", "acme"): `{"api_key":"canary-good"}`,
	}
	for _, kind := range []string{"good", "bad", "forbidden", "broken", "elsewhere"} {
		documents[of("billing", kind)] = `{"api_key":"canary-` + kind + `"}`
	}
	documents[of("billing", "invalid")] = `{"api_key":["canary"]}`
	s := administered(t, documents)
	s.start(t, fmt.Sprintf("provider billing {\nheader X-Api-Key {credential.api_key}\ntest %s/me\n}\nprovider plain {\nheader X-Api-Key {credential.api_key}\n}\n", u.URL)+
		strings.Replace(auth.provider("crm", ""), "provider crm {", "provider crm {\ntest "+u.URL+"/me", 1),
		"upstream_auth billing 127.0.0.1:1")
	return s, u, auth
}

// test asks for a test, and checks that nothing secret comes of it.
func (s *sidecar) test(t *testing.T, path, body string) (*http.Response, rest.TestResult) {
	t.Helper()
	res, text := s.ask(t, "POST", path+"/test", body, nil)
	var result rest.TestResult
	if err := json.Unmarshal([]byte(text), &result); err != nil || strings.Contains(text, "canary") {
		t.Errorf("%s: got %s %s, %v", path, res.Status, text, err)
	}
	return res, result
}

func TestCredentialsAreTestedOnDemand(t *testing.T) {
	s, u, auth := testedSidecar(t)
	for path, want := range map[string]struct {
		status     int
		ok         bool
		text, toDo string
	}{
		"crm/tenants/acme":          {200, true, "the upstream answered 200", ""},
		"billing/tenants/good":      {200, true, "the upstream answered 200", ""},
		"billing/tenants/bad":       {401, false, "the upstream answered 401", "Bring another credential"},
		"billing/tenants/forbidden": {403, false, "the upstream answered 403", "Check what the account behind"},
		"billing/tenants/broken":    {502, false, "the upstream answered 502", "Try again later"},
		"billing/tenants/elsewhere": {302, false, "the upstream answered 302", "redirects are not followed"},
	} {
		res, got := s.test(t, path, "{}")
		if res.StatusCode != 200 || got.OK != want.ok || got.Status != want.status || !strings.Contains(got.Message, want.text) || !strings.Contains(got.ToDo, want.toDo) || got.Version != 1 {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if n := u.asked.Load(); n != 6 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if n := auth.refreshes.Load(); n != 0 {
		t.Errorf("%d refreshes", n)
	}
	res, body := s.ask(t, "POST", "billing/tenants/nobody/test", "{}", nil)
	wantCode(t, res, body, 404, "tenant_unknown")
	res, body = s.ask(t, "POST", "billing/tenants/invalid/test", "{}", nil)
	wantCode(t, res, body, 422, "credential_invalid")
	res, body = s.ask(t, "POST", "billing/tenants/good/test", `{"refresh":true}`, nil)
	wantCode(t, res, body, 409, "not_refreshable")
	res, body = s.ask(t, "POST", "plain/tenants/acme/test", "{}", nil)
	wantCode(t, res, body, 409, "test_not_configured")
	if !strings.Contains(body, "write test and the URL") {
		t.Errorf("got %s", body)
	}
	res, body = s.ask(t, "GET", "billing/tenants/good/test", "", nil)
	wantCode(t, res, body, 405, "method_not_allowed")
	u.CloseClientConnections()
	u.Close()
	_, got := s.test(t, "billing/tenants/good", "{}")
	if got.OK || got.Status != 0 || !strings.Contains(got.ToDo, "can be reached") {
		t.Errorf("nobody answers: %+v", got)
	}
}

// A test does what a request does, but for a 401: nothing is spent on that unless it is
// asked for.
func TestTestRefreshesWhatARequestWould(t *testing.T) {
	s, _, auth := testedSidecar(t)
	if _, got := s.test(t, "crm/tenants/rejected", "{}"); got.OK || got.Status != 401 || !strings.Contains(got.ToDo, "once more with refresh") || auth.refreshes.Load() != 0 {
		t.Errorf("rejected: %+v after %d refreshes", got, auth.refreshes.Load())
	}
	if _, got := s.test(t, "crm/tenants/rejected", `{"refresh":true}`); !got.OK || !got.Refreshed || auth.refreshes.Load() != 1 {
		t.Errorf("rejected, with refresh: %+v after %d refreshes", got, auth.refreshes.Load())
	}
	// Its first token is the server's second, which the upstream does not take.
	if _, got := s.test(t, "crm/tenants/expired", `{"refresh":true}`); got.OK || got.Status != 401 || !got.Refreshed || !strings.Contains(got.ToDo, "authorize anew") || auth.refreshes.Load() != 2 {
		t.Errorf("expired: %+v after %d refreshes", got, auth.refreshes.Load())
	}
}

func TestTestOfATokenThatCannotBeRefreshed(t *testing.T) {
	s, _, auth := testedSidecar(t)
	auth.refuses.Store(true)
	if _, got := s.test(t, "crm/tenants/expired", "{}"); !got.OK || !strings.Contains(got.Message, "has expired and could not be refreshed") {
		t.Errorf("expired: %+v", got)
	}
	res, body := s.ask(t, "POST", "crm/tenants/rejected/test", `{"refresh":true}`, nil)
	wantCode(t, res, body, 409, "reauthorization_required")
}

func TestTenantsTestTheirOwn(t *testing.T) {
	u := newTestedAPI(t)
	s := startAPI(t, "provider billing {\nheader X-Api-Key {credential.api_key}\ntest "+u.URL+"/me\n}", "", "")
	if status, _, _ := s.call("PATCH", "/self", s.tenant("acme"), `{"credentials":{"api_key":"canary-good"}}`); status != 200 {
		t.Fatalf("put: %d", status)
	}
	for name, c := range map[string]struct {
		path   string
		header http.Header
		status int
	}{
		"its own":             {"/self/test", s.tenant("acme"), 200},
		"by an operator":      {"/tenants/acme/test", s.operator(), 200},
		"another's":           {"/tenants/acme/test", s.tenant("globex"), 403},
		"of a tenant without": {"/self/test", s.tenant("globex"), 404},
		"without a token":     {"/self/test", http.Header{"Content-Type": {"application/json"}}, 401},
	} {
		status, answer, _ := s.call("POST", c.path, c.header, "{}")
		if status != c.status || status == 200 && (answer["ok"] != true || answer["status"] != 200.0) {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	if status, _, header := s.call("GET", "/self/test", s.tenant("acme"), ""); status != 405 || header.Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", status, header.Get("Allow"))
	}
	if n := u.asked.Load(); n != 3 { // once for the PATCH
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestTestCommand(t *testing.T) {
	s, _, _ := testedSidecar(t)
	got := s.command(t, "", "test", "--provider", "billing", "--tenant", "good")
	if got.failed != nil || !strings.Contains(got.out, "Test       ok\nStatus     200\n") {
		t.Errorf("good: %+v", got)
	}
	got = s.command(t, "", "test", "--provider", "billing", "--tenant", "bad")
	if got.failed == nil || !strings.Contains(got.out, "Test       failed\nStatus     401\n") || !strings.Contains(got.failed.Error(), "(test_failed)\nBring another credential") {
		t.Errorf("bad: %+v", got)
	}
	got = s.command(t, "", "test", "--provider", "crm", "--tenant", "rejected", "--refresh", "--json")
	if got.failed != nil || !json.Valid([]byte(got.out)) || !strings.Contains(got.out, `"refreshed": true`) {
		t.Errorf("with --refresh: %+v", got)
	}
	got = s.command(t, "", "test", "--provider", "billing", "--tenant", "bad", "--json")
	if got.failed == nil || !strings.Contains(got.out, `"ok": false`) || !strings.Contains(got.err, `"code": "test_failed"`) {
		t.Errorf("in JSON: %+v", got)
	}
	got = s.command(t, "", "test", "--provider", "plain", "--tenant", "acme")
	if got.failed == nil || !strings.Contains(got.failed.Error(), "test_not_configured") {
		t.Errorf("without a test: %+v", got)
	}
}
