package e2e

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
)

// Nothing that Caddy writes or tells gives a secret away, whatever goes wrong.
// All other tests search what their Caddy leaves behind, too; this one makes it
// say as much as it can.
func TestNothingGivesASecretAway(t *testing.T) {
	const errorPage = "%s\nhandle_errors {\nrespond \"{err.id} {err.message} {err.trace} {http.error} {http.request.header.*}\" {err.status_code}\n}"
	w := newWorld(t)
	w.file("schema.json", `{"properties":{"note":{"type":"string","maxLength":5,"pattern":"^a$","enum":["a"]}}}`)
	talkative := configuration{
		store:    "timeout 1s\ncache_ttl 1ms",
		provider: "expose account\nschema " + filepath.Join(w.files, "schema.json"),
		sites: []site{
			{log: true, around: "log_append account {upstream_auth.credential.account}\nlog_append error {http.error}\n" + errorPage},
			{name: "nowhere", log: true, upstream: "http://127.0.0.1:1", around: errorPage},
		},
	}
	w.start(talkative)
	var pages []byte
	ask := func(r request, status int) {
		t.Helper()
		res := w.expect(r, status)
		pages = append(append(pages, fmt.Sprint(res.Header)...), res.body...)
	}

	// The good ways.
	w.seedExpired("acme")
	ask(request{tenant: "acme", id: "refreshed", body: randomBytes(100 * kib), chunked: true}, 200)
	w.settled("acme")
	ask(request{tenant: "acme", id: "again", header: http.Header{"Authorization": {"Bearer of the client's own"}}}, 200)
	w.check(w.caddy.Load(w.ctx, w.caddyfile(talkative)))
	w.check(w.caddy.Reload(w.ctx, w.caddyfile(talkative)))

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
	asked := len(w.auth.Ledger())
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
		w.seedExpired(tenant)
		w.auth.Play(func(authserver.Entry) authserver.Behaviour { return b })
		ask(request{tenant: tenant, id: tenant}, 401)
	}
	w.auth.Play(nil)
	if got := len(w.auth.Ledger()) - asked; got < len(troubles) { // what had no answer may have been sent again
		t.Errorf("the token endpoint was asked %d times, not %d", got, len(troubles))
	}
	w.seed("revoked")
	w.check(w.auth.Revoke("revoked"))
	ask(request{tenant: "revoked", id: "revoked"}, 401)

	// The bad ways of the document, the tenant and the upstream.
	const split = "a token\r\nX-Injected: in two lines"
	w.secrets.Add("a malformed token", split)
	w.store("malformed", document{AccessToken: split, RefreshToken: split})
	ask(request{tenant: "malformed", id: "malformed"}, 502)
	const wrong = "a field that breaks the schema"
	w.secrets.Add("a field of the document", wrong)
	w.storeRaw("invalid", map[string]any{"access_token": wrong, "note": wrong, wrong: wrong})
	ask(request{tenant: "invalid", id: "invalid"}, 502)
	ask(request{tenant: "nobody", id: "nobody"}, 403)
	ask(request{tenant: "../acme", id: "traversal"}, 400)
	w.seed("lost")
	ask(request{site: "nowhere", tenant: "lost", id: "nowhere"}, 502)

	// The bad ways of Vault.
	w.vault.Seal()
	ask(request{tenant: "never-read", id: "sealed"}, 503)
	w.vault.Unseal()
	w.vault.Kill()
	ask(request{tenant: "never-read", id: "dead"}, 503)
	w.vault.Restart()
	w.recovers("acme")

	for _, leak := range w.secrets.Scan("answers", pages) {
		t.Errorf("leak: %s: %q", leak, around(pages, leak.Offset))
	}
	w.looksInTheRightPlaces(w.searchTraces(w.ctx), pages)
}

// looksInTheRightPlaces checks that what was searched is what there is to search.
func (w *world) looksInTheRightPlaces(traces map[string][]byte, pages []byte) {
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
	if w.secrets.Len() < 40 {
		w.Errorf("only %d secrets to look for", w.secrets.Len())
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
	w := newWorld(t)
	w.start(configuration{store: promptVault})
	const tenant = "a-tenant-with-a-name"
	w.seedExpired(tenant)
	w.expect(request{tenant: tenant, id: "refreshed"}, 200)
	w.check(w.auth.Revoke(tenant))
	w.expect(request{tenant: tenant, id: "revoked"}, 401)
	w.vault.Kill()
	w.expect(request{tenant: tenant, id: "served"}, 401)

	lines := 0
	for line := range bytes.Lines(w.caddy.Output()) {
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
	metrics, err := w.caddy.Get(w.ctx, "/metrics")
	if err != nil || bytes.Contains(metrics, []byte(tenant)) {
		t.Errorf("the metrics name the tenant, or: %v", err)
	}
}
