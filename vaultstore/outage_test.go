package vaultstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// TestOutages kills, seals and restarts a Vault under a store that is in use.
func TestOutages(t *testing.T) {
	v := startVault(t)
	cfg := v.byAppRole("outages", map[string]any{"token_ttl": "1h"})
	cfg.Timeout = 2 * time.Second
	key := credential.Key{Provider: "p", Tenant: "acme"}
	get := func(store *Store) error {
		_, err := store.Get(t.Context(), key)
		return err
	}
	isUnavailable := func(state string, store *Store) {
		t.Helper()
		if err := get(store); !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound) {
			t.Errorf("%s: error %v, want ErrUnavailable", state, err)
		}
		if _, err := store.Put(t.Context(), key, []byte(`{}`), 1); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%s: Put: error %v, want ErrUnavailable", state, err)
		}
	}
	recovers := func(state string, store *Store) {
		t.Helper()
		eventually(t, longestRest+5*time.Second, func() error {
			if err := get(store); err != nil {
				return fmt.Errorf("%s: %w", state, err)
			}
			return nil
		})
	}
	used := newStore(t, cfg)
	if _, err := used.Put(t.Context(), key, []byte(`{"n":1}`), 0); err != nil {
		t.Fatal(err)
	}

	v.Seal()
	isUnavailable("sealed", used)
	early := newStore(t, cfg)
	early.Open()
	isUnavailable("opened while sealed", early)
	v.Unseal()
	recovers("unsealed", used)
	recovers("opened while sealed, unsealed", early)

	v.Kill()
	isUnavailable("killed", used)
	late := newStore(t, cfg)
	late.Open()
	isUnavailable("opened while down", late)

	// Requests go on during the restart, and none of them is told that there is
	// no such tenant.
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := get(used); err != nil && (!errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrNotFound)) {
					t.Errorf("during the restart: %v", err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	v.Restart()
	recovers("restarted", used)
	recovers("opened while down, restarted", late)
	close(stop)
	group.Wait()
	if _, err := used.Put(t.Context(), key, []byte(`{"n":2}`), 1); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
