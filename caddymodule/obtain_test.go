package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// issuer issues a token for each request by the client app with the secret s3cret, and
// accepts the last one alone.
type issuer struct {
	url      string
	requests atomic.Int64
	refuses  atomic.Pointer[string] // a body
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := new(issuer)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /eu/token", func(w http.ResponseWriter, r *http.Request) {
		n := i.requests.Add(1)
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		refusal := i.refuses.Load()
		switch {
		case refusal != nil:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, *refusal)
		case id != "app" || secret != "s3cret" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("refresh_token") != "":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client"}`)
		default:
			fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600}`, n)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", i.requests.Load()) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "welcome")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) provider(more string) string {
	return `provider billing {
		oauth2 {
			grant         client_credentials
			token_url     ` + i.url + `/{credential.region}/token
			client_id     app
			client_secret {credential.secret}
		}
		` + more + `
	}`
}

func (s *sidecar) wantAnswer(t *testing.T, status int, code string) *http.Response {
	t.Helper()
	res, body := s.get(t, "/", as("acme"))
	if res.StatusCode != status || res.Header.Get("Upstream-Auth-Error") != code {
		t.Errorf("%d %s: %s", res.StatusCode, res.Header.Get("Upstream-Auth-Error"), body)
	}
	return res
}

func TestTheFirstTokenIsObtainedBeforeTheFirstRequest(t *testing.T) {
	i := newIssuer(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"region":"eu","secret":"s3cret"}`})
	s.start(t, i.provider(""), "upstream_auth billing "+i.url)
	for range 3 {
		s.wantAnswer(t, http.StatusOK, "")
	}
	if n := i.requests.Load(); n != 1 {
		t.Errorf("%d token requests", n)
	}
	i.requests.Add(1) // the token is another's now
	s.wantAnswer(t, http.StatusOK, "")
	if n := i.requests.Load(); n != 3 {
		t.Errorf("%d token requests", n)
	}
}

func TestATokenThatCannotBeObtained(t *testing.T) {
	i := newIssuer(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"region":"eu","secret":"wrong"}`, key("globex"): `{"region":"eu"}`})
	s.start(t, i.provider(""), "upstream_auth billing "+i.url)
	for range 3 {
		if res := s.wantAnswer(t, http.StatusServiceUnavailable, "refresh_failed"); res.Header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	}
	if n := i.requests.Load(); n != 1 {
		t.Errorf("%d token requests within the cooldown", n)
	}
	res, body := s.get(t, "/", as("globex"))
	if res.StatusCode != http.StatusBadGateway || res.Header.Get("Upstream-Auth-Error") != "credential_invalid" {
		t.Errorf("without the secret: %d %s", res.StatusCode, body)
	}
}

func TestATokenThatIsRefusedForGood(t *testing.T) {
	i := newIssuer(t)
	refusal := `{"error":"unauthorized_client"}`
	i.refuses.Store(&refusal)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"region":"eu","secret":"s3cret"}`})
	s.start(t, i.provider(""), "upstream_auth billing "+i.url)
	for range 3 {
		s.wantAnswer(t, http.StatusUnauthorized, "reauthorization_required")
	}
	if n := i.requests.Load(); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// What is put is tested with a token that is obtained for it, which is kept.
func TestACredentialWithoutATokenIsTestedWithOne(t *testing.T) {
	i := newIssuer(t)
	s := administered(t, nil)
	s.start(t, i.provider("test GET "+i.url+"/me"), "upstream_auth billing "+i.url)
	put := func(document string) (int, string) {
		t.Helper()
		res, body := s.ask(t, http.MethodPut, "billing/tenants/acme", document, nil)
		return res.StatusCode, body
	}
	if status, body := put(`{"region":"eu","secret":"wrong"}`); status != http.StatusUnprocessableEntity || !strings.Contains(body, "token endpoint answered 401") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := put(`{"region":"eu"}`); status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", status, body)
	}
	before := i.requests.Load()
	if status, body := put(`{"region":"eu","secret":"s3cret"}`); status != http.StatusOK || !json.Valid([]byte(body)) {
		t.Errorf("%d %s", status, body)
	}
	s.wantAnswer(t, http.StatusOK, "")
	if n := i.requests.Load() - before; n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestAnExpiredTokenThatCannotBeRenewed(t *testing.T) {
	for word, wanted := range map[string]string{"": "asked", "send": "asked", "reject": ""} {
		i := newIssuer(t)
		s := newSidecar(t, map[credential.Key]string{key("acme"): `{"region":"eu","secret":"wrong","access_token":"old","expires_at":"2020-01-01T00:00:00Z"}`})
		setting := ""
		if word != "" {
			setting = "on_refresh_failure " + word
		}
		s.start(t, i.provider(""), "upstream_auth billing "+i.url+" {\n"+setting+"\nheader_down X-Upstream asked\n}")
		if res := s.wantAnswer(t, http.StatusUnauthorized, "refresh_failed"); res.Header.Get("X-Upstream") != wanted {
			t.Errorf("%q: the upstream was %q", word, res.Header.Get("X-Upstream"))
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
