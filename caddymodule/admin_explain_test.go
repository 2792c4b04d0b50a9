package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// explanationAnswer is what explain answers.
type explanationAnswer struct {
	rest.Tenant
	Sets         []schemes.Setting
	AllowedHosts []string `json:"allowed_hosts"`
	Request      string
	On401        string `json:"on_401"`
	ToDo         string `json:"to_do"`
}

// explain asks what becomes of a tenant's requests.
func (s *sidecar) explain(t *testing.T, provider, tenant string) explanationAnswer {
	t.Helper()
	res, body := s.ask(t, "GET", provider+"/tenants/"+tenant+"/explain", "", nil)
	if res.StatusCode != 200 {
		t.Fatalf("%s: got %s %s", tenant, res.Status, body)
	}
	if strings.Contains(body, "canary") {
		t.Errorf("%s: a secret is shown: %s", tenant, body)
	}
	var e explanationAnswer
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return e
}

func TestExplainSaysWhatIsSent(t *testing.T) {
	t.Setenv("EXPLAINED", "canary-of-the-environment")
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{
		{Provider: "mapped", Tenant: "acme"}:  `{"key":"canary-key","user":"canary-user","account":{"id":42}}`,
		{Provider: "plain", Tenant: "acme"}:   tokens,
		{Provider: "renamed", Tenant: "acme"}: `{"oauth":{"token":"canary-access"}}`,
	})
	s.start(t, `provider mapped {
		allowed_hosts *.example.com
		expose account.id
		header x-api-key "v1 {credential.key}-{env.EXPLAINED}"
		query account {credential.account.id}
		basic {credential.user} {env.EXPLAINED}
	}
	`+auth.provider("plain", "")+auth.provider("renamed", "credential_field access_token oauth.token"), "upstream_auth plain 127.0.0.1:1")
	for provider, want := range map[string][]schemes.Setting{
		"mapped": {
			{In: "header", Name: "X-Api-Key", Value: "v1 {credential.key}-{env.EXPLAINED}"},
			{In: "query", Name: "account", Value: "{credential.account.id}"},
			{In: "header", Name: "Authorization", Value: "Basic base64({credential.user}:{env.EXPLAINED})"},
		},
		"plain":   {{In: "header", Name: "Authorization", Value: "Bearer {credential.access_token}"}},
		"renamed": {{In: "header", Name: "Authorization", Value: "Bearer {credential.oauth.token}"}},
	} {
		e := s.explain(t, provider, "acme")
		if !reflect.DeepEqual(e.Sets, want) {
			t.Errorf("%s is sent with %q, want %q", provider, e.Sets, want)
		}
		if e.Version != 1 || e.Provider != provider || e.ID != "acme" {
			t.Errorf("%s: %+v", provider, e)
		}
	}
	e := s.explain(t, "mapped", "acme")
	if string(e.Credentials["account.id"]) != "42" || !reflect.DeepEqual(e.AllowedHosts, []string{"*.example.com"}) {
		t.Errorf("got %+v", e)
	}
}

func TestExplainSaysWhatHappens(t *testing.T) {
	auth := newAuthServer(t)
	endpoint := strings.TrimPrefix(auth.URL, "http://")
	application := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(application.Close)
	asked := strings.TrimPrefix(application.URL, "http://")

	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	oauth2 := func(tenant credential.Tenant) credential.Key { return credential.Key{Provider: "crm", Tenant: tenant} }
	fetched := func(tenant credential.Tenant) credential.Key { return credential.Key{Provider: "app", Tenant: tenant} }
	s := administered(t, map[credential.Key]string{
		oauth2("ready"):     `{"access_token":"canary-a","refresh_token":"canary-r","expires_at":"` + at(time.Hour) + `"}`,
		oauth2("unknown"):   `{"access_token":"canary-a","refresh_token":"canary-r"}`,
		oauth2("soon"):      `{"access_token":"canary-a","refresh_token":"canary-r","expires_at":"` + at(30*time.Second) + `"}`,
		oauth2("expired"):   `{"access_token":"canary-a","refresh_token":"canary-r","expires_at":"` + at(-time.Hour) + `"}`,
		oauth2("tokenless"): `{"access_token":"canary-a","expires_at":"` + at(-time.Hour) + `"}`,
		oauth2("fixed"):     `{"access_token":"canary-a"}`,
		oauth2("disabled"):  `{"access_token":"canary-a","refresh_token":"canary-r","_upstream_auth":{"disabled":"true"}}`,
		oauth2("refused"):   tokens,
		oauth2("broken"):    `{"refresh_token":"canary-r"}`,
		key("plain"):        `{"api_key":"canary-key"}`,
		fetched("plain"):    `{"api_key":"canary-key"}`,
	})
	s.start(t, auth.provider("crm", "")+apiKey+`
	provider app {
		header X-Api-Key {credential.api_key}
		fetch_credentials `+application.URL+`/tenants/{tenant}
	}`, "upstream_auth crm 127.0.0.1:1")
	auth.refuses.Store(true)
	s.ask(t, "POST", "crm/tenants/refused/refresh", "{}", nil)

	for name, want := range map[string]struct{ status, request, on401, toDo string }{
		"crm/ready":     {"ready", "It is sent at once.", "The access token is refreshed at " + endpoint, ""},
		"crm/unknown":   {"ready", "It is sent at once.", "The access token is refreshed at " + endpoint, ""},
		"crm/soon":      {"ready", "It is sent at once. The access token expires soon and is refreshed at " + endpoint, "The access token is refreshed at " + endpoint, ""},
		"crm/expired":   {"ready", "The access token has expired: it is refreshed at " + endpoint, "The access token is refreshed at " + endpoint, ""},
		"crm/tokenless": {"ready", "The access token has expired and cannot be refreshed", "Nothing is refreshed, as the credential has no refresh token: the app gets the 401, with reauthorization_required.", "Somebody has to authorize anew"},
		"crm/fixed":     {"ready", "It is sent at once.", "Nothing is refreshed, as the credential has no refresh token", "Once the access token is not accepted any more, somebody has to authorize anew"},
		"crm/disabled":  {"ready", "It is sent at once.", "Nothing is refreshed, as an operator has disabled it:", "set disabled to false"},
		"crm/refused":   {"reauthorization_required", "The access token has expired and cannot be refreshed", "Nothing is refreshed, as the token endpoint has refused the refresh token for good:", "Somebody has to authorize anew: caddy upstream-auth put"},
		"crm/broken":    {"invalid", "It is refused with 502 credential_invalid.", "The upstream is not asked.", "Replace the credential"},
		"crm/missing":   {"missing", "It is refused with 403 tenant_unknown.", "The upstream is not asked.", "Bring a credential"},
		"billing/plain": {"ready", "It is sent at once.", "The store is read again. If it has another credential by now, the request is sent once more with that. Otherwise the app gets the 401, with refresh_failed.", ""},
		"app/plain":     {"ready", "It is sent at once.", "Otherwise the application at " + asked + " is asked for another one.", ""},
		"app/missing":   {"missing", "It waits while the application at " + asked + " is asked", "That depends on the credential that the application gives.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			provider, tenant, _ := strings.Cut(name, "/")
			e := s.explain(t, provider, tenant)
			if e.Status != want.status {
				t.Errorf("status %q, want %q", e.Status, want.status)
			}
			for what, texts := range map[string][2]string{
				"a request":   {e.Request, want.request},
				"after a 401": {e.On401, want.on401},
				"to do":       {e.ToDo, want.toDo},
			} {
				if !strings.Contains(texts[0], texts[1]) || (texts[0] == "") != (texts[1] == "") {
					t.Errorf("%s: %q, want %q", what, texts[0], texts[1])
				}
			}
		})
	}
}

// A login has no refresh token to speak of, and at first no token either.
func TestExplainSpeaksOfLogins(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "canary", http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	s := administered(t, map[credential.Key]string{
		{Provider: "board", Tenant: "new"}:   `{"user":"canary-user"}`,
		{Provider: "board", Tenant: "known"}: `{"user":"canary-user","session":"canary-session"}`,
		{Provider: "board", Tenant: "wrong"}: `{"user":"canary-other"}`,
	})
	s.start(t, `provider board {
		login {
			request `+server.URL+`/login {
				form user {credential.user}
			}
			token_field session id
		}
	}`, "upstream_auth board 127.0.0.1:1")
	host := strings.TrimPrefix(server.URL, "http://")
	e := s.explain(t, "board", "new")
	if want := []schemes.Setting{{In: "header", Name: "Authorization", Value: "Bearer {credential.session}"}}; !reflect.DeepEqual(e.Sets, want) {
		t.Errorf("sent with %q", e.Sets)
	}
	if !strings.Contains(e.Request, "no access token yet: "+host+" is asked for one first") || e.ToDo != "" {
		t.Errorf("without a token: %+v", e)
	}
	e = s.explain(t, "board", "known")
	if e.Request != "It is sent at once." || !strings.Contains(e.On401, "Another access token is asked for at "+host) || strings.Contains(e.On401, "refresh token") {
		t.Errorf("with a token: %+v", e)
	}

	res, body := s.ask(t, "POST", "board/tenants/wrong/refresh", "{}", nil)
	if res.StatusCode < 400 || strings.Contains(body, "canary") {
		t.Errorf("a login that is refused: %s %s", res.Status, body)
	}
	e = s.explain(t, "board", "wrong")
	if !strings.Contains(e.Request, "none to be had") || !strings.Contains(e.On401, "Nothing is refreshed before 2") || !strings.Contains(e.ToDo, "Replace the credential by one that "+host+" accepts") {
		t.Errorf("refused: %+v", e)
	}
}
