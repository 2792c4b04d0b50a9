package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// perHost is a configuration whose tenants name their own hosts.
func perHost(w *world.World, h *hosts) world.Configuration {
	w.Helper()
	w.File("ca.pem", string(h.ca))
	return world.Configuration{
		Store:    world.PatientVault,
		Provider: "allowed_hosts *.api.test:" + h.port + "\nexpose instance_host",
		OAuth2:   "refresh_field instance_host instance_url|@host",
		Sites: []world.Site{{
			Log: true, Upstream: "{upstream_auth.credential.instance_host}:" + h.port,
			Handler: fmt.Sprintf("transport http {\ntls\ntls_trust_pool file %s\nresolvers %s\n}", filepath.Join(w.Files, "ca.pem"), h.resolver),
		}},
	}
}

// livesAt is a tenant's document with the host that it names.
func livesAt(tenant, host string, tokens authserver.Tokens) map[string]any {
	var fields map[string]any
	raw, _ := json.Marshal(world.DocumentOf(tenant, tokens))
	_ = json.Unmarshal(raw, &fields)
	fields["instance_host"] = host
	return fields
}

// Each tenant's requests go to the host that its credential names, by TLS, also after
// the tenant has moved. A host that is not allowed gets nothing, not even a lookup.
func TestTenantsHaveTheirOwnHosts(t *testing.T) {
	t.Parallel()
	var moved sync.Map // tenant to instance_url
	w := world.NewWith(t, authserver.Config{Fields: func(e authserver.Entry) map[string]any {
		if address, ok := moved.Load(e.Tenant); ok {
			return map[string]any{"instance_url": address}
		}
		return nil
	}})
	h := newHosts(w)
	w.Start(w.WithAPI(perHost(w, h), ""))

	reaches := func(tenant, host string, attempts int) {
		t.Helper()
		r := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " at ", host, time.Now()), Body: world.RandomBytes(10 * world.KiB)}
		w.Check(w.Delivered(r, w.Must(r)))
		all := w.API.Attempts(r.ID)
		if last := all[len(all)-1]; len(all) != attempts || last.Host != host+":"+h.port {
			t.Errorf("%s: %d attempts, the last at %s", tenant, len(all), last.Host)
		}
	}
	for tenant, host := range map[string]string{"acme": "acme.api.test", "globex": "globex.api.test"} {
		tokens, err := w.Auth.Seed(tenant)
		w.Check(err)
		a := w.Brings(tenant, livesAt(tenant, host, tokens))
		if len(a.Credentials) != 1 || a.Credentials["instance_host"] != host {
			t.Errorf("%s: the API shows %v", tenant, a.Credentials)
		}
		reaches(tenant, host, 1)
		w.Check(w.Auth.Expire(tenant))
		reaches(tenant, host, 2)
		w.Settled(tenant)
	}

	// The provider tells with new tokens that the tenant has moved.
	moved.Store("acme", "https://acme-two.api.test/services")
	w.Check(w.Auth.Expire("acme"))
	r := world.Request{Tenant: "acme", ID: "moves"}
	w.Check(w.Delivered(r, w.Must(r)))
	reaches("acme", "acme-two.api.test", 1)
	reaches("globex", "globex.api.test", 1)
	w.Settled("acme", "globex")

	known := h.seen()
	for i, host := range []string{
		"evil.test", "acme.evil.test", "api.test", "a.b.api.test", "api.test.evil.test", "localhost", "127.0.0.1", "[::1]", ".api.test",
		"evil.test:" + h.port + "#.api.test", "evil.test/.api.test", "evil.test@acme.api.test", "acme.api.test@evil.test", "acme.api.test:1",
		"evil.test\\.api.test", "evil.test .api.test", "evil.test%00.api.test", "*.api.test", "{env.HOME}.api.test", "unix//tmp/evil", "",
	} {
		t.Run(fmt.Sprintf("%q", host), func(t *testing.T) {
			w := w.Within(t)
			tenant := fmt.Sprint("stranger-", i)
			tokens, err := w.Auth.Seed(tenant)
			w.Check(err)
			w.StoreRaw(tenant, livesAt(tenant, host, tokens))
			r := world.Request{Tenant: tenant, ID: tenant}
			res := w.Expect(r, http.StatusBadGateway)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "host_not_allowed" {
				t.Errorf("code %q", code)
			}
			if len(w.API.Attempts(r.ID)) > 0 {
				t.Error("the upstream was asked")
			}
		})
	}
	if now := h.seen(); !slices.Equal(known, now) {
		t.Errorf("looked up or dialled: %q, and before it was %q", now, known)
	}
}
