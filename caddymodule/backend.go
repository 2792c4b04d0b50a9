package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
)

// backends are the stores in use, shared by all configurations that name the
// same one, so that a reload loses neither what is cached nor a Vault session,
// and so that two configurations at work at the same time refresh a credential
// once.
var backends = caddy.NewUsagePool()

// turns are shared by the backends whose stores are the same place, however
// they get there: of two configurations that log in differently, too, one
// refreshes a credential at a time.
var turns = caddy.NewUsagePool()

// sharedTurns is what the pool holds.
type sharedTurns struct{ refresh.Turns }

// Destruct implements [caddy.Destructor].
func (*sharedTurns) Destruct() error { return nil }

// backend is a store with all that is remembered of it.
type backend struct {
	key, place  string
	store       openStore
	cache       *credential.Cache
	coordinator *refresh.Coordinator
	settings    string

	mu      sync.Mutex
	loggers []*slog.Logger // of the configurations that run, the newest last
}

// acquireBackend returns the backend for store, a new one if no configuration
// uses it yet. Each call is paired with one of release.
func acquireBackend(module storeModule, logger *slog.Logger) (*backend, error) {
	key := module.poolKey()
	value, _, err := backends.LoadOrNew(key, func() (caddy.Destructor, error) {
		store, options, err := module.newStore(logger)
		if err != nil {
			return nil, err
		}
		cache := credential.NewCache(store, options)
		place := module.place()
		shared, _ := turns.LoadOrStore(place, new(sharedTurns))
		return &backend{
			key:         key,
			place:       place,
			store:       store,
			settings:    module.settings(),
			cache:       cache,
			coordinator: refresh.New(cache, refresh.Options{Turns: &shared.(*sharedTurns).Turns}),
		}, nil
	})
	if err != nil {
		return nil, err
	}
	b := value.(*backend)
	if b.settings != module.settings() {
		b.release()
		return nil, errSettings
	}
	return b, nil
}

// errSettings refuses what would take another opening of the same store.
var errSettings = errors.New("the running configuration has the same file open with another key_file: " +
	"stop Caddy and start it again to change that")

// addLogger makes the store log as a configuration that starts does. The store
// outlives it and must not hold on to its logger.
func (b *backend) addLogger(logger *slog.Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loggers = append(b.loggers, logger)
	b.store.SetLogger(logger)
}

// removeLogger takes back the logger of a configuration that stops: one that was
// replaced, or one that failed to start and leaves the store to the one before.
func (b *backend) removeLogger(logger *slog.Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.loggers, logger); i >= 0 {
		b.loggers = slices.Delete(b.loggers, i, i+1)
	}
	if n := len(b.loggers); n > 0 {
		b.store.SetLogger(b.loggers[n-1])
	}
}

// release gives one use back.
func (b *backend) release() { _, _ = backends.Delete(b.key) }

// Destruct closes the store once nothing is under way any more: tokens that are
// still to be stored keep it open. It does not keep the caller waiting, which is a
// reload.
func (b *backend) Destruct() error {
	go func() {
		_ = b.coordinator.Wait(context.Background())
		b.coordinator.Close()
		_ = b.store.Close()
		_, _ = turns.Delete(b.place)
	}()
	return nil
}

// use counts who uses a configuration: the configuration itself, and every
// request that came in under it. Requests go on after the configuration's
// Cleanup, and what they use must outlive them.
type use struct {
	users atomic.Int64
	done  func()
}

// newUse returns a use with one user. done runs when the last one is gone.
func newUse(done func()) *use {
	u := &use{done: done}
	u.users.Store(1)
	return u
}

// acquire adds a user unless the last one is gone already.
func (u *use) acquire() bool {
	for {
		n := u.users.Load()
		if n == 0 {
			return false
		}
		if u.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release takes a user away.
func (u *use) release() {
	if u.users.Add(-1) == 0 {
		u.done()
	}
}
