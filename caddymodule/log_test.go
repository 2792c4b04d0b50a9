package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// The log is that of the configuration that runs.
func TestRefreshesAreLoggedByTheRunningConfiguration(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{
		"crm":     {200, `{"access_token":"canary-new","refresh_token":"canary-new-2"}`},
		"billing": {401, `{"error":"invalid_client","error_description":"no such client"}`},
	})
	credentials := map[credential.Key]string{{Provider: "crm", Tenant: "globex"}: tokens}
	for i := range 10 {
		credentials[key(credential.Tenant(fmt.Sprint("globex-", i)))] = tokens
	}
	s := administered(t, credentials)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	for _, file := range []string{"first.log", "second.log"} {
		text := strings.Replace(s.caddyfile(server.provider("crm")+server.provider("billing"), "upstream_auth crm 127.0.0.1:1"),
			"level ERROR", "level DEBUG\noutput file "+s.path(file)+"\nexclude admin.api", 1)
		conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(conf, true); err != nil {
			t.Fatal(err)
		}
	}
	s.ask(t, "POST", "crm/tenants/globex/refresh", "{}", nil)
	for i := range 10 {
		s.ask(t, "POST", fmt.Sprintf("billing/tenants/globex-%d/refresh", i), "{}", nil)
	}
	text, err := os.ReadFile(s.path("second.log"))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for line := range bytes.Lines(text) {
		var l struct {
			Logger, Msg, Provider, Error string
			Status                       int
			OAuth2Error                  string `json:"oauth2_error"`
			ErrorDescription             string `json:"error_description"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Logger != "upstream_auth" {
			continue
		}
		counts[l.Msg]++
		if strings.Contains(string(line), "globex") || strings.Contains(string(line), "canary") {
			t.Errorf("the line names the tenant or a token: %s", line)
		}
		if l.Msg == "refresh failed" && (l.Provider != "billing" || l.Status != 401 || l.OAuth2Error != "invalid_client" || l.ErrorDescription != "no such client") {
			t.Errorf("got %s", line)
		}
	}
	if counts["credential refreshed"] != 1 || counts["refresh failed"] != 3 {
		t.Errorf("got %v", counts)
	}
	if text, _ := os.ReadFile(s.path("first.log")); bytes.Contains(text, []byte("credential refreshed")) {
		t.Error("the configuration before logs still")
	}
}
