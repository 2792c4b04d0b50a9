package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Whoever adopts the claims of a dead process by the hundred finishes them a few at a
// time: neither Vault nor the token endpoint sees more.
func TestManyAdoptedClaimsAreFinishedAFewAtATime(t *testing.T) {
	t.Parallel()
	const count, most = 300, 16
	w := newWorld(t)
	c := configuration{quiet: true, store: "timeout 20s"}
	journal := t.TempDir()
	dead := w.replica(c, "dead", journal)
	var tenants []string
	for i := range count {
		tenants = append(tenants, fmt.Sprintf("tenant-%03d", i))
		w.seed(tenants[i])
	}
	w.expireAll(tenants)

	// The token endpoint takes what comes from the dead, and hangs up when it is dead.
	held := newGate()
	w.Cleanup(held.open)
	var endpoint concurrency
	w.auth.Play(func(e authserver.Entry) authserver.Behaviour {
		if e.Sender == "dead" {
			return authserver.Behaviour{Before: held.pass, Instead: authserver.HangUp}
		}
		return authserver.Behaviour{Before: endpoint.begin, Between: func() {
			pause(w.ctx, 50*time.Millisecond)
			endpoint.end()
		}}
	})
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var apps sync.WaitGroup
	// A few at a time, or a busy machine gets nowhere with any.
	soon, stop := context.WithTimeout(w.ctx, 25*time.Second)
	defer stop()
	for i := 0; i < count && soon.Err() == nil; i += most {
		batch := tenants[i:min(i+most, count)]
		for _, tenant := range batch {
			apps.Go(func() { _, _ = dead.send(ctx, request{tenant: tenant, id: tenant + " at the dead"}) })
		}
		_ = w.auth.Await(soon, func(entries []authserver.Entry) bool { return len(entries) >= i+len(batch) })
	}
	dead.kill()
	cancel()
	apps.Wait()
	held.open()
	var unfinished []string
	for _, tenant := range tenants {
		if w.hasStatus(tenant, "spending") == nil {
			unfinished = append(unfinished, tenant)
		}
	}
	if len(unfinished) < 4*most { // a busy machine need not get through them all
		t.Fatalf("only %d claims are left", len(unfinished))
	}

	var store concurrency
	heir := w.ownTap()
	heir.tap.disturbing(func(r *http.Request, _ []byte) vaultFault {
		if !isCredential(r) {
			return vaultFault{}
		}
		store.begin()
		return vaultFault{done: store.end}
	})
	begun := time.Now()
	heir = heir.replica(c, "heir", journal)
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
	heir.soon(time.Minute, func() error {
		for _, tenant := range unfinished {
			if err := heir.newestStored(tenant); err != nil {
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
