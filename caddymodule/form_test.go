package caddymodule_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// What is filled in is written as by any other way: what operators have said of a tenant
// stays, and so does what its schemes need beside the provider's own schema.
func TestFilledInFormReplacesACredential(t *testing.T) {
	s := administered(t, map[credential.Key]string{
		key("acme"): `{"client_id":"canary-old","client_secret":"canary-old","account":"a-1","_upstream_auth":{"disabled":"true"}}`,
	})
	s.start(t, "provider billing {\nschema `{\"required\":[\"client_id\"],\"properties\":{\"client_id\":{\"type\":\"string\"}}}`\nexpose client_id\n"+
		"oauth2 {\ngrant client_credentials\ntoken_url https://as.example/token\nclient_id {credential.client_id}\nclient_secret {credential.client_secret}\n}\nallowed_hosts 127.0.0.1\n}",
		"upstream_auth_connect billing {\nredirect_uris "+s.url+"/oauth/callback\nform\n}")
	res, body := s.ask(t, "POST", "billing/tenants/acme/connect-link", "{}", nil)
	var link struct{ URL string }
	if err := json.Unmarshal([]byte(body), &link); err != nil || res.StatusCode != 200 {
		t.Fatalf("got %s %s", res.Status, body)
	}
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	page := s.read(t, client, http.MethodGet, link.URL, nil)
	if strings.Contains(page, "canary") || strings.Contains(page, "access_token") || strings.Contains(page, "account\"") {
		t.Errorf("page\n%s", page)
	}
	token := regexp.MustCompile(`name="form" value="([^"]+)"`).FindStringSubmatch(page)
	if token == nil {
		t.Fatalf("page\n%s", page)
	}
	values := url.Values{"form": {token[1]}, "field.client_id": {"new"}, "field.client_secret": {"canary-new"}}
	if page = s.read(t, client, http.MethodPost, link.URL, values); !strings.Contains(page, "Your account is connected") {
		t.Fatalf("page\n%s", page)
	}
	res, body = s.ask(t, "GET", "billing/tenants/acme", "", nil)
	if res.StatusCode != 200 || !strings.Contains(body, `"disabled":true`) || !strings.Contains(body, `"client_id":"new"`) || !strings.Contains(body, `"written_by":"connect"`) {
		t.Errorf("got %s %s", res.Status, body)
	}
}

// read makes a browser's request and returns the page.
func (s *sidecar) read(t *testing.T, client *http.Client, method, address string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// Without a schema, and with nothing that a template names by a plain path, there is
// nothing to fill in.
func TestFormWithoutFieldsIsNotLoaded(t *testing.T) {
	s := newSidecar(t, nil)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.caddyfile("provider billing {\nheader X-Api-Key {credential.keys.#.value}\n}",
		"upstream_auth_connect billing {\nredirect_uris "+s.url+"/oauth/callback\nform\n}")), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var parsed caddy.Config
	if err := json.Unmarshal(conf, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err == nil || !strings.Contains(err.Error(), "form has nothing to ask for: have the provider's schema say what a credential has") {
		t.Errorf("error %v", err)
	}
}
