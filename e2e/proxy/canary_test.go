package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Nothing that Caddy writes or tells gives a secret away, whatever goes wrong.
// All other tests search what their Caddy leaves behind, too; this one makes it
// say as much as it can.
func TestNothingGivesASecretAway(t *testing.T) {
	const errorPage = "%s\nhandle_errors {\nrespond \"{err.id} {err.message} {err.trace} {http.error} {http.request.header.*}\" {err.status_code}\n}"
	w := world.New(t)
	w.File("schema.json", `{"properties":{"note":{"type":"string","maxLength":5,"pattern":"^a$","enum":["a"]}}}`)
	talkative := world.Configuration{
		Store:    "timeout 1s\ncache_ttl 1ms",
		Provider: "expose account\nschema " + filepath.Join(w.Files, "schema.json"),
		Sites: []world.Site{
			{Log: true, Around: "log_append account {upstream_auth.credential.account}\nlog_append error {http.error}\n" + errorPage},
			{Name: "nowhere", Log: true, Upstream: "http://127.0.0.1:1", Around: errorPage},
		},
	}
	w.Start(talkative)
	var pages []byte
	ask := func(r world.Request, status int) {
		t.Helper()
		res := w.Expect(r, status)
		pages = append(append(pages, fmt.Sprint(res.Header)...), res.Content...)
	}

	// The good ways.
	w.SeedExpired("acme")
	ask(world.Request{Tenant: "acme", ID: "refreshed", Body: world.RandomBytes(100 * world.KiB), Chunked: true}, 200)
	w.Settled("acme")
	ask(world.Request{Tenant: "acme", ID: "again", Header: http.Header{"Authorization": {"Bearer of the client's own"}}}, 200)
	w.Check(w.Caddy.Load(w.Ctx, w.Caddyfile(talkative)))
	w.Check(w.Caddy.Reload(w.Ctx, w.Caddyfile(talkative)))

	// The bad ways of the token endpoint, some of which repeat what they were sent.
	repeat := func(format string, status int) authserver.Behaviour {
		return authserver.Behaviour{Instead: func(rw http.ResponseWriter, r *http.Request) {
			_, secret, _ := r.BasicAuth()
			rw.Header().Set("Content-Type", "application/json")
			rw.Header().Set("WWW-Authenticate", "Repeats "+r.Header.Get("Authorization"))
			rw.WriteHeader(status)
			fmt.Fprintf(rw, format, r.PostForm.Get("refresh_token")+" "+secret)
		}}
	}
	asked := len(w.Auth.Ledger())
	troubles := []authserver.Behaviour{
		repeat(`{"error":"invalid_grant","error_description":%q}`, 400),
		repeat(`{"error":%q}`, 400),
		repeat(`{"error":"invalid_client","error_uri":%q}`, 401),
		repeat(`<html>%s`, 500),
		repeat(`{"access_token":%q,"expires_in":[]`, 200),
		repeat(`{"access_token":"\u0000bad","refresh_token":%q}`, 200),
		repeat(`%s`, 302),
		{Instead: authserver.Unavailable("1")},
		{After: authserver.Error500},
		{After: authserver.Drop},
	}
	for i, b := range troubles {
		tenant := fmt.Sprint("unlucky-", i)
		w.SeedExpired(tenant)
		w.Auth.Play(func(authserver.Entry) authserver.Behaviour { return b })
		ask(world.Request{Tenant: tenant, ID: tenant}, 401)
	}
	w.Auth.Play(nil)
	if got := len(w.Auth.Ledger()) - asked; got < len(troubles) { // what had no answer may have been sent again
		t.Errorf("the token endpoint was asked %d times, not %d", got, len(troubles))
	}
	w.Seed("revoked")
	w.Check(w.Auth.Revoke("revoked"))
	ask(world.Request{Tenant: "revoked", ID: "revoked"}, 401)

	// The bad ways of the document, the tenant and the upstream.
	const split = "a token\r\nX-Injected: in two lines"
	w.Secrets.Add("a malformed token", split)
	w.Store("malformed", world.Document{AccessToken: split, RefreshToken: split})
	ask(world.Request{Tenant: "malformed", ID: "malformed"}, 502)
	const wrong = "a field that breaks the schema"
	w.Secrets.Add("a field of the document", wrong)
	w.StoreRaw("invalid", map[string]any{"access_token": wrong, "note": wrong, wrong: wrong})
	ask(world.Request{Tenant: "invalid", ID: "invalid"}, 502)
	ask(world.Request{Tenant: "nobody", ID: "nobody"}, 403)
	ask(world.Request{Tenant: "../acme", ID: "traversal"}, 400)
	w.Seed("lost")
	ask(world.Request{Site: "nowhere", Tenant: "lost", ID: "nowhere"}, 502)

	// The bad ways of Vault.
	w.Vault.Seal()
	ask(world.Request{Tenant: "never-read", ID: "sealed"}, 503)
	w.Vault.Unseal()
	w.Vault.Kill()
	ask(world.Request{Tenant: "never-read", ID: "dead"}, 503)
	w.Vault.Restart()
	w.Recovers("acme")

	for _, leak := range w.Secrets.Scan("answers", pages) {
		t.Errorf("leak: %s: %q", leak, world.Around(pages, leak.Offset))
	}
	looksInTheRightPlaces(w, w.SearchTraces(w.Ctx), pages)
}

// looksInTheRightPlaces checks that what was searched is what there is to search.
func looksInTheRightPlaces(w *world.World, traces map[string][]byte, pages []byte) {
	w.Helper()
	all := map[string][]byte{"pages": pages}
	for source, text := range traces {
		all[source] = text
	}
	for source, texts := range map[string][]string{
		"output":                     {`"level":"debug"`, `"logger":"upstream_auth"`, "upstream roundtrip"},
		"app-access.log":             {`"status":401`, `"status":200`, "X-Tenant-Id", "account of acme"},
		"admin /config/":             {`"upstream_auth"`, `"client_secret_file"`},
		"admin /metrics":             {"caddy_http_requests_total"},
		"config/caddy/autosave.json": {`"upstream_auth"`},
		"pages":                      {"Upstream-Auth-Error", "credential"},
	} {
		for _, text := range texts {
			if !bytes.Contains(all[source], []byte(text)) {
				w.Errorf("%s has no %s", source, text)
			}
		}
	}
	if w.Secrets.Len() < 40 {
		w.Errorf("only %d secrets to look for", w.Secrets.Len())
	}
	// And one that is there is found.
	something := new(canary.Collector)
	something.Add("something", "upstream roundtrip")
	if len(something.Scan("output", traces["output"])) == 0 {
		w.Error("what is in the log was not found")
	}
}

// Our own log lines and metrics do not name the tenants.
func TestTenantsAreNotNamed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Store: world.PromptVault})
	const tenant = "a-tenant-with-a-name"
	w.SeedExpired(tenant)
	w.Expect(world.Request{Tenant: tenant, ID: "refreshed"}, 200)
	w.Check(w.Auth.Revoke(tenant))
	w.Expect(world.Request{Tenant: tenant, ID: "revoked"}, 401)
	w.Vault.Kill()
	w.Expect(world.Request{Tenant: tenant, ID: "served"}, 401)

	lines := 0
	for line := range bytes.Lines(w.Caddy.Output()) {
		var entry struct{ Logger string }
		if json.Unmarshal(line, &entry) != nil || !strings.Contains(entry.Logger, "upstream_auth") {
			continue // Caddy's own show the request's header
		}
		lines++
		if bytes.Contains(line, []byte(tenant)) {
			t.Errorf("the log names the tenant: %s", line)
		}
	}
	if lines == 0 {
		t.Error("the log has no line of ours")
	}
	metrics, err := w.Caddy.Get(w.Ctx, "/metrics")
	if err != nil || bytes.Contains(metrics, []byte(tenant)) {
		t.Errorf("the metrics name the tenant, or: %v", err)
	}
}
