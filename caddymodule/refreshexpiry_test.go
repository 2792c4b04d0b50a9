package caddymodule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Operators are told of refresh tokens that end soon, or have ended, without being woken.
func TestEndOfRefreshTokensIsTold(t *testing.T) {
	auth := newAuthServer(t)
	with := func(end time.Duration) string {
		return `{"access_token":"canary-a","refresh_token":"canary-r","refresh_token_expires_at":"` + time.Now().Add(end).UTC().Format(time.RFC3339) + `"}`
	}
	const day = 24 * time.Hour
	s := administered(t, map[credential.Key]string{
		{Provider: "crm", Tenant: "late"}:    with(60 * day),
		{Provider: "crm", Tenant: "soon"}:    with(3 * day),
		{Provider: "crm", Tenant: "sooner"}:  with(time.Hour),
		{Provider: "crm", Tenant: "over"}:    with(-day),
		{Provider: "crm", Tenant: "refused"}: with(-day),
		{Provider: "crm", Tenant: "unknown"}: `{"access_token":"canary-a","refresh_token":"canary-r"}`,
		{Provider: "erp", Tenant: "unknown"}: `{"access_token":"canary-a","refresh_token":"canary-r"}`,
	})
	s.start(t, auth.provider("crm", "")+auth.provider("erp", ""), "upstream_auth crm 127.0.0.1:1")
	auth.refuses.Store(true)
	s.ask(t, "POST", "crm/tenants/refused/refresh", "{}", nil)

	for tenant, want := range map[string]string{
		"late": "", "unknown": "",
		"soon": "unless it is used before, somebody has to authorize anew",
		"over": "It is tried all the same; if it is refused, somebody has to authorize anew",
	} {
		e := s.explain(t, "crm", tenant)
		if !strings.Contains(e.ToDo, want) || (e.ToDo == "") != (want == "") {
			t.Errorf("%s: to do is %q, want %q", tenant, e.ToDo, want)
		}
		if e.RefreshTokenExpiresAt.IsZero() != (tenant == "unknown") {
			t.Errorf("%s: got %v", tenant, e.RefreshTokenExpiresAt)
		}
	}
	d := s.diagnose(t)
	var told []string
	for _, f := range d.Findings {
		if strings.Contains(f.Detail, "whose refresh token") {
			told = append(told, f.Detail)
		}
	}
	want := "provider crm: 2 credentials whose refresh token expires within 7 days, unless it is used before" +
		" and 1 credential whose refresh token has expired, so that the tenant has to sign in again"
	if !d.Healthy || len(told) != 1 || told[0] != want {
		t.Errorf("doctor: healthy is %v, and it tells %q", d.Healthy, told)
	}
	if got := s.command(t, "", "list", "--provider", "crm"); !strings.Contains(got.out, "EXPIRES   REFRESH TOKEN EXPIRES   LAST FAILURE") || !strings.Contains(got.out, "1 month from now") {
		t.Errorf("list: got %s", got.out)
	}
	if got := s.command(t, "", "list", "--provider", "erp"); strings.Contains(got.out, "REFRESH TOKEN") {
		t.Errorf("a list without any: got %s", got.out)
	}
	if got := s.command(t, "", "get", "--provider", "crm", "--tenant", "late"); !strings.Contains(got.out, "Refresh token expires   1 month from now") {
		t.Errorf("get: got %s", got.out)
	}
}
