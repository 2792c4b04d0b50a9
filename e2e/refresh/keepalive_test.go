package refresh

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// idle puts tokens of a tenant into Vault that were renewed some time ago by a sidecar
// with keep_alive.
func idle(w *world.World, tenant string, since time.Duration) {
	w.Helper()
	tokens, err := w.Auth.Seed(tenant)
	w.Check(err)
	sum := sha256.Sum256([]byte(tokens.Refresh))
	w.StoreRaw(tenant, map[string]any{
		"access_token": tokens.Access, "refresh_token": tokens.Refresh, "account": "account of " + tenant,
		"_upstream_auth": map[string]string{
			"status": "ready", "fingerprint": hex.EncodeToString(sum[:16]),
			"renewed": time.Now().Add(-since).UTC().Format(time.RFC3339),
		},
	})
}

// Refresh tokens that nobody has used for long are renewed without any request, each by one
// of two sidecars; a reload has nothing renewed twice.
func TestIdleTenantsAreKeptAlive(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Check(w.Vault.Allow(w.Ctx, world.Policy, world.PolicyAPI))
	tenants := []string{"idle-1", "idle-2", "idle-3"}
	for _, tenant := range tenants {
		idle(w, tenant, 30*24*time.Hour)
	}
	idle(w, "used", time.Hour)
	w.Seed("new")
	c := world.Configuration{OAuth2: "keep_alive 20d"}
	a := w.Replica(c, "a", t.TempDir())
	w.Replica(c, "b", t.TempDir())
	w.Settled(tenants...)
	idle(w, "later", 30*24*time.Hour)
	c = a.Running
	c.OAuth2 = strings.Replace(c.OAuth2, "20d", "19d", 1)
	w.Check(a.Caddy.Load(a.Ctx, a.Caddyfile(c))) // which has all tenants looked at again
	w.Settled("later")
	for _, tenant := range append(tenants, "later") {
		w.Asked(tenant, authserver.Rotated)
		w.Eventually(func() error {
			record, err := w.Record(tenant)
			if at, parseErr := time.Parse(time.RFC3339Nano, record["renewed"]); err == nil && (parseErr != nil || time.Since(at) > time.Hour) {
				err = fmt.Errorf("%s: renewed at %q", tenant, record["renewed"])
			}
			return err
		})
	}
	w.Asked("used")
	w.Asked("new")
}

// Without the right to list tenants nothing is kept alive, which the log and the doctor say.
func TestKeepAliveTellsWhatVaultsPolicyLacks(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	idle(w, "idle", 30*24*time.Hour)
	w.Start(world.Configuration{OAuth2: "keep_alive 20d"})
	const rule = "list on secret/metadata/upstream-auth/*"
	w.Eventually(func() error {
		if !w.Logs("warn", rule) {
			return errors.New("nothing is logged")
		}
		return nil
	})
	body, err := w.Caddy.Get(w.Ctx, "/upstream_auth/doctor")
	w.Check(err)
	var report struct {
		Healthy  bool
		Findings []struct {
			OK             bool
			Detail, Remedy string
		}
	}
	w.Check(json.Unmarshal(body, &report))
	told := 0
	for _, f := range report.Findings {
		if !f.OK && strings.Contains(f.Detail, "keep_alive") && strings.Contains(f.Remedy, "Have the store's policy allow "+rule) {
			told++
		}
	}
	if report.Healthy || told != 1 {
		t.Errorf("the doctor says %s", body)
	}
	w.Asked("idle")
}
