package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// scripted is an authorization server whose token endpoints answer by their paths.
type scripted struct{ *httptest.Server }

type scriptedAnswer struct {
	status int
	body   string
}

func newScripted(t *testing.T, answers map[string]scriptedAnswer) *scripted {
	t.Helper()
	s := &scripted{httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[strings.TrimPrefix(r.URL.Path, "/")]
		if !known {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.status)
		fmt.Fprint(w, strings.ReplaceAll(answer.body, "SENT", r.PostFormValue("refresh_token")))
	}))}
	t.Cleanup(s.Close)
	return s
}

// provider is a Caddyfile's provider whose token endpoint has its name for a path.
func (s *scripted) provider(name string) string {
	return fmt.Sprintf("provider %s {\noauth2 {\ntoken_url %s/%s\nclient_id app\nclient_auth none\n}\n}\n", name, s.URL, name)
}

// outcome asks what happened last to a tenant's credential.
func (s *sidecar) outcome(t *testing.T, provider, tenant string) *rest.Outcome {
	t.Helper()
	res, body := s.ask(t, "GET", provider+"/tenants/"+tenant, "", nil)
	if res.StatusCode != 200 || strings.Contains(body, "canary") {
		t.Fatalf("got %s %s", res.Status, body)
	}
	var answer rest.Tenant
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.LastOutcome
}

// A failure of a refresh is told with what the endpoint said and what to do, by every way
// of asking, and nothing says that all is well.
func TestOperatorsAreToldWhyARefreshFailed(t *testing.T) {
	answers := map[string]scriptedAnswer{
		"client":   {401, `{"error":"invalid_client","error_description":"Bad secret, SENT was not looked at"}`},
		"scope":    {400, `{"error":"invalid_scope"}`},
		"tokens":   {200, `{"token":"canary-in-an-odd-place-0123456789"}`},
		"trouble":  {500, `oops`},
		"busy":     {429, `{}`},
		"redirect": {302, ``},
		"request":  {400, `{"error":"invalid_request"}`},
	}
	server := newScripted(t, answers)
	cases := map[string]struct {
		outcome, code, description string
		status                     int
		message, toDo              string
	}{
		"client":   {"failed", "invalid_client", "Bad secret, … was not looked at", 401, "token endpoint answered 401, invalid_client", "Check client_id, the client secret and client_auth (none now)"},
		"scope":    {"failed", "invalid_scope", "", 400, "token endpoint answered 400, invalid_scope", "Check scopes"},
		"tokens":   {"unusable", "", "", 200, "token endpoint answered 200, without access_token in it", "response_field: a new access token is looked for in the answer at access_token"},
		"trouble":  {"no_answer", "", "", 500, "token endpoint answered 500", "ask who runs it"},
		"busy":     {"failed", "", "", 429, "token endpoint answered 429", "It wants to be left alone"},
		"redirect": {"failed", "", "", 302, "token endpoint answered 302", "Check token_url"},
		"request":  {"failed", "invalid_request", "", 400, "token endpoint answered 400, invalid_request", "Check token_url, client_auth"},
		"absent":   {"failed", "", "", 404, "token endpoint answered 404", "Check token_url: what answers there is no token endpoint."},
		"nowhere":  {"no_answer", "", "", 0, "token endpoint: cannot connect", "whether it runs and answers"},
	}
	credentials := make(map[credential.Key]string)
	providers := ""
	for name := range cases {
		credentials[credential.Key{Provider: name, Tenant: "globex"}] = tokens
		providers += server.provider(name)
	}
	providers = strings.Replace(providers, server.URL+"/nowhere", "http://"+freeAddress(t)+"/nowhere", 1)
	s := administered(t, credentials)
	s.start(t, providers, "upstream_auth client 127.0.0.1:1")
	for name := range cases {
		if res, body := s.ask(t, "POST", name+"/tenants/globex/refresh", "{}", nil); res.StatusCode != 502 {
			t.Fatalf("%s: got %s %s", name, res.Status, body)
		}
	}
	diagnosed := s.diagnose(t)
	if diagnosed.Healthy {
		t.Error("the doctor says that all is well")
	}
	doctor, _ := json.Marshal(diagnosed)
	if strings.Contains(string(doctor), "globex") || strings.Contains(string(doctor), "canary") {
		t.Errorf("the doctor names a tenant or a token: %s", doctor)
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			o := s.outcome(t, name, "globex")
			if o == nil {
				t.Fatal("nothing is told")
			}
			if string(o.Outcome) != want.outcome || o.Status != want.status || o.Error != want.code || o.ErrorDescription != want.description || !o.Failure {
				t.Errorf("got %+v, want %+v", o, want)
			}
			if !strings.Contains(o.Message, want.message) || o.Message == "" || time.Since(o.At) > time.Minute || !o.RetryAt.After(o.At) {
				t.Errorf("got %+v, want %+v", o, want)
			}
			e := s.explain(t, name, "globex")
			if e.LastOutcome == nil || !strings.Contains(e.ToDo, want.toDo) {
				t.Errorf("explain says to do %q, want %q", e.ToDo, want.toDo)
			}
			found := false
			for _, f := range diagnosed.Findings {
				found = found || f.Check == "refresh" && !f.OK && strings.Contains(f.Remedy, want.toDo) &&
					strings.Contains(f.Detail, "provider "+name+": the last refresh of 1 credential failed, at ") && strings.Contains(f.Detail, want.message)
			}
			if !found {
				t.Errorf("the doctor does not find it: %+v", diagnosed.Findings)
			}
			if got := s.command(t, "", "list", "--provider", name); !strings.Contains(got.out, "   "+want.outcome+" ") || !strings.Contains(got.out, want.message) {
				t.Errorf("list says %q", got.out)
			}
			if got := s.command(t, "", "explain", "--provider", name, "--tenant", "globex"); !strings.Contains(got.out, "Last outcome") || !strings.Contains(got.out, want.toDo) {
				t.Errorf("explain says %q", got.out)
			}
		})
	}
}

func TestExplainSaysThatNothingIsTriedDuringACooldown(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{"billing": {401, `{"error":"invalid_client"}`}})
	s := administered(t, map[credential.Key]string{key("acme"): tokens})
	s.start(t, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")
	for range 6 { // so that the cooldown is long
		s.ask(t, "POST", "billing/tenants/acme/refresh", "{}", nil)
	}
	until := s.outcome(t, "billing", "acme").RetryAt.Format(time.RFC3339)
	e := s.explain(t, "billing", "acme") // though the document still has the claim, perhaps
	if !strings.Contains(e.Request, "the upstream is asked with the old one until "+until) {
		t.Errorf("a request: %q", e.Request)
	}
	if !strings.Contains(e.On401, "none is tried before "+until+": the app gets the 401 at once, with refresh_failed.") {
		t.Errorf("after a 401: %q", e.On401)
	}
}

// What happened to tokens that are not in the store any more says nothing of those that
// are.
func TestOutcomeEndsWithItsCredential(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{"billing": {401, `{"error":"invalid_client"}`}})
	s := administered(t, map[credential.Key]string{key("acme"): tokens, key("globex"): tokens})
	s.start(t, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")
	for _, tenant := range []string{"acme", "globex"} {
		s.ask(t, "POST", "billing/tenants/"+tenant+"/refresh", "{}", nil)
	}
	if wrong := s.diagnose(t).wrong()["refresh"]; !strings.Contains(wrong, "2 credentials") {
		t.Errorf("before: the doctor says %q", wrong)
	}
	res, body := s.ask(t, "PUT", "billing/tenants/acme", `{"access_token":"canary-new","refresh_token":"canary-new-refresh"}`, nil)
	if res.StatusCode != 200 || strings.Contains(body, "last_outcome") {
		t.Errorf("the answer to the new tokens: %s %s", res.Status, body)
	}
	if o := s.outcome(t, "billing", "acme"); o != nil {
		t.Errorf("afterwards: %+v", o)
	}
	if wrong := s.diagnose(t).wrong()["refresh"]; !strings.Contains(wrong, "1 credential ") {
		t.Errorf("after one has new tokens the doctor says %q", wrong)
	}
	s.ask(t, "DELETE", "billing/tenants/globex", "", nil)
	if wrong := s.diagnose(t).wrong()["refresh"]; wrong != "" {
		t.Errorf("after the other is deleted the doctor says %q", wrong)
	}
}

// Tenants that are disabled or must sign in are no fault of the setup.
func TestDoctorCountsTenantsThatNeedAPerson(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{"billing": {400, `{"error":"invalid_grant"}`}})
	s := administered(t, map[credential.Key]string{
		key("acme"): tokens, key("initech"): tokens, key("globex"): strings.Replace(tokens, "{", `{"_upstream_auth":{"disabled":"true"},`, 1),
	})
	s.start(t, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")
	for _, tenant := range []string{"acme", "initech", "globex"} {
		s.ask(t, "POST", "billing/tenants/"+tenant+"/refresh", "{}", nil)
	}
	d := s.diagnose(t)
	if !d.Healthy {
		t.Errorf("got %+v", d)
	}
	const want = "2 credentials whose tenants have to sign in again and 1 credential that operators have disabled"
	if text, _ := json.Marshal(d); !strings.Contains(string(text), want) {
		t.Errorf("got %s, want %q", text, want)
	}
}

// A tenant's own front end is told what happened, and not in the endpoint's words.
func TestCredentialsAPITellsTheOutcomeWithoutTheEndpointsWords(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{"billing": {401, `{"error":"invalid_client","error_description":"words of the endpoint"}`}})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }))
	t.Cleanup(upstream.Close)
	s := startAPI(t, server.provider("billing"), "", "upstream_auth billing "+upstream.URL)
	put := `{"credentials":{"access_token":"key-of-acme","refresh_token":"key-of-acme-2"}}`
	if status, answer, _ := s.call("PATCH", "/self", s.tenant("acme"), put); status != 200 || answer["last_outcome"] != nil {
		t.Fatalf("got %d %v", status, answer)
	}
	s.get(t, "/invoices", as("acme"))
	_, answer, _ := s.call("GET", "/self", s.tenant("acme"), "")
	got, _ := answer["last_outcome"].(map[string]any)
	if got["outcome"] != "failed" || got["status"] != 401.0 || got["failure"] != true || got["at"] == nil || got["retry_at"] == nil || len(got) != 5 {
		t.Errorf("got %v", got)
	}
}

// Another process's claim that does not come to an end.
func TestOperatorsAreToldOfAClaimThatIsWaitedFor(t *testing.T) {
	server := newScripted(t, nil)
	store := storetest.NewMemory()
	s := administered(t, nil)
	at := time.Now().Add(-5 * time.Minute).UTC().Format(time.RFC3339)
	document := `{"access_token":"canary-a","refresh_token":"r","_upstream_auth":{"status":"spending","nonce":"n","owner":"o",` +
		`"fingerprint":"` + "454349e422f05297191ead13e21d3db5" + `","at":"` + at + `","since":"` + at + `"}}`
	if _, err := store.Put(t.Context(), key("acme"), []byte(document), 0); err != nil {
		t.Fatal(err)
	}
	s.startOnSharedStore(t, store, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.admin+"/upstream_auth/billing/tenants/acme/refresh", strings.NewReader("{}"))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	var o *rest.Outcome
	for deadline := time.Now().Add(10 * time.Second); o == nil && time.Now().Before(deadline); {
		o = s.outcome(t, "billing", "acme")
	}
	if o == nil || o.Outcome != "waiting" || !o.Failure || !strings.Contains(o.Message, "another process has claimed the refresh token and not finished: it did so 5m") ||
		!strings.Contains(o.Message, "others take over at "+o.RetryAt.Format(time.RFC3339)) {
		t.Errorf("got %+v", o)
	}
	e := s.explain(t, "billing", "acme")
	if e.Status != "refreshing" || !strings.Contains(e.ToDo, "If an old credential was written back over a newer one, write the newest tokens.") {
		t.Errorf("explain: %q %q", e.Status, e.ToDo)
	}
	if wrong := s.diagnose(t).wrong()["refresh"]; !strings.Contains(wrong, "another process has claimed the refresh token and not finished") || !strings.Contains(wrong, "it is taken over at") {
		t.Errorf("the doctor says %q", wrong)
	}
	// Its owner finishes.
	if _, err := store.Put(t.Context(), key("acme"), []byte(`{"access_token":"canary-b","refresh_token":"r2"}`), 1); err != nil {
		t.Fatal(err)
	}
	<-asked
	if o := s.outcome(t, "billing", "acme"); o != nil {
		t.Errorf("afterwards: %+v", o)
	}
	if d := s.diagnose(t); !d.Healthy {
		t.Errorf("afterwards the doctor says %+v", d)
	}
}

// A policy that forbids the claim is no claim that somebody else has.
func TestOperatorsAreToldThatThePolicyForbidsTheClaim(t *testing.T) {
	server := newScripted(t, nil)
	store := storetest.NewMemory()
	if _, err := store.Put(t.Context(), key("acme"), []byte(tokens), 0); err != nil {
		t.Fatal(err)
	}
	forbidden := &credential.PermissionError{Capabilities: []string{"create", "update"}, Path: "secret/data/upstream-auth/*"}
	store.Fault = func(op string, k credential.Key) error {
		if op == storetest.OpPut && k.Tenant == "acme" {
			return fmt.Errorf("write: %w", forbidden)
		}
		return nil
	}
	s := administered(t, nil)
	s.startOnSharedStore(t, store, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")
	began := time.Now()
	s.ask(t, "POST", "billing/tenants/acme/refresh", "{}", nil)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v to learn that the policy forbids it", took)
	}
	o := s.outcome(t, "billing", "acme")
	const rule = "create and update on secret/data/upstream-auth/*"
	if o == nil || o.Outcome != "store_failed" || !strings.Contains(o.Message, "policy does not allow create or update on") || strings.Contains(o.Message, "claimed") {
		t.Errorf("got %+v", o)
	}
	if e := s.explain(t, "billing", "acme"); e.Status != "ready" || !strings.Contains(e.ToDo, "allow "+rule) {
		t.Errorf("explain: %+v", e)
	}
	if wrong := s.diagnose(t).wrong()["refresh"]; !strings.Contains(wrong, rule) {
		t.Errorf("the doctor says %q", wrong)
	}
}

// When the store was away and is back, the doctor asks it in place of remembering.
func TestDoctorForgetsThatTheStoreWasAway(t *testing.T) {
	server := newScripted(t, nil)
	store := storetest.NewMemory()
	if _, err := store.Put(t.Context(), key("acme"), []byte(tokens), 0); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64 // since the refresh is asked for: the first one finds the store in reach
	reads.Store(-1000)
	store.Fault = func(op string, k credential.Key) error {
		if op == storetest.OpGet && k.Tenant == "acme" && reads.Add(1) == 2 {
			return credential.ErrUnavailable
		}
		return nil
	}
	s := administered(t, nil)
	s.startOnSharedStore(t, store, server.provider("billing"), "upstream_auth billing 127.0.0.1:1")
	reads.Store(0)
	s.ask(t, "POST", "billing/tenants/acme/refresh", "{}", nil)
	if o := s.outcome(t, "billing", "acme"); o == nil || o.Outcome != "store_failed" {
		t.Fatalf("got %+v", o)
	}
	if d := s.diagnose(t); !d.Healthy {
		t.Errorf("got %+v", d)
	}
}
