package refresh

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Whoever adopts the claims of a dead process by the hundred finishes them a few at a
// time: neither Vault nor the token endpoint sees more.
func TestManyAdoptedClaimsAreFinishedAFewAtATime(t *testing.T) {
	t.Parallel()
	const count, most = 300, 16
	w := world.New(t)
	c := world.Configuration{Quiet: true, Store: "timeout 20s"}
	journal := t.TempDir()
	dead := w.Replica(c, "dead", journal)
	var tenants []string
	for i := range count {
		tenants = append(tenants, fmt.Sprintf("tenant-%03d", i))
		w.Seed(tenants[i])
	}
	w.ExpireAll(tenants)

	// The token endpoint takes what comes from the dead, and hangs up when it is dead.
	held := world.NewGate()
	w.Cleanup(held.Open)
	var endpoint concurrency
	w.Auth.Play(func(e authserver.Entry) authserver.Behaviour {
		if e.Sender == "dead" {
			return authserver.Behaviour{Before: held.Pass, Instead: authserver.HangUp}
		}
		return authserver.Behaviour{Before: endpoint.begin, Between: func() {
			world.Pause(w.Ctx, 50*time.Millisecond)
			endpoint.end()
		}}
	})
	ctx, cancel := context.WithCancel(w.Ctx)
	defer cancel()
	var apps sync.WaitGroup
	// A few at a time, or a busy machine gets nowhere with any.
	soon, stop := context.WithTimeout(w.Ctx, 25*time.Second)
	defer stop()
	for i := 0; i < count && soon.Err() == nil; i += most {
		batch := tenants[i:min(i+most, count)]
		for _, tenant := range batch {
			apps.Go(func() { _, _ = dead.Send(ctx, world.Request{Tenant: tenant, ID: tenant + " at the dead"}) })
		}
		_ = w.Auth.Await(soon, func(entries []authserver.Entry) bool { return len(entries) >= i+len(batch) })
	}
	dead.Kill()
	cancel()
	apps.Wait()
	held.Open()
	var unfinished []string
	for _, tenant := range tenants {
		if w.HasStatus(tenant, "spending") == nil {
			unfinished = append(unfinished, tenant)
		}
	}
	if len(unfinished) < 4*most { // a busy machine need not get through them all
		t.Fatalf("only %d claims are left", len(unfinished))
	}

	var store concurrency
	heir := w.OwnTap()
	heir.Tap.Disturbing(func(r *http.Request, _ []byte) world.VaultFault {
		if !world.IsCredential(r) {
			return world.VaultFault{}
		}
		store.begin()
		return world.VaultFault{Done: store.end}
	})
	begun := time.Now()
	heir = heir.Replica(c, "heir", journal)
	defer func() {
		t.Logf("%d claims, %v after the start of the heir: at most %d requests at once at Vault, %d at the token endpoint",
			len(unfinished), time.Since(begun).Round(time.Millisecond), store.most(), endpoint.most())
		if got := store.most(); got > most {
			t.Errorf("%d requests at once at Vault", got)
		}
		if got := endpoint.most(); got > most || got == 0 {
			t.Errorf("%d requests at once at the token endpoint", got)
		}
	}()
	heir.Soon(time.Minute, func() error {
		for _, tenant := range unfinished {
			if err := heir.NewestStored(tenant); err != nil {
				return err
			}
		}
		return nil
	})
}

// concurrency counts what is under way at the same time.
type concurrency struct {
	mu           sync.Mutex
	now, highest int
}

func (c *concurrency) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	c.highest = max(c.highest, c.now)
}

func (c *concurrency) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
}

func (c *concurrency) most() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.highest
}
