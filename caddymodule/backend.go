package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/stores"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refreshlog"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// backends are the stores in use, shared by all configurations that name the
// same one, so that a reload loses neither what is cached nor a Vault session,
// and so that two configurations at work at the same time refresh a credential
// once.
var backends = caddy.NewUsagePool()

// backend is a store with all that is remembered of it.
type backend struct {
	key         string
	store       stores.Opener
	cache       *credential.Cache
	coordinator *renew.Coordinator
	lifecycle   *lifecycle.Service
	log         *refreshlog.Log
	usage       budget.Usage
	settings    string
	journals    string       // their directory; empty: the store needs none
	journalRoom atomic.Int64 // for how many claims a journal keeps room

	mu   sync.Mutex
	apps []*App // that run, the newest last
}

// acquireBackend returns the backend for store, a new one if no configuration
// uses it yet with that journal directory. Each call is paired with one of release.
func acquireBackend(module stores.Store, journalDir string, logger *slog.Logger) (*backend, error) {
	key := module.Key()
	if !module.Exclusive() {
		key += " journal " + journalDir
	}
	value, _, err := backends.LoadOrNew(key, func() (caddy.Destructor, error) {
		store, options, err := module.New(logger)
		if err != nil {
			return nil, err
		}
		b := &backend{
			key: key, store: store, settings: module.Settings(),
			cache: credential.NewCache(store, options), log: refreshlog.New(logger),
		}
		coordination := renew.Options{
			Name: processName(), Provider: b.provider, Exclusive: module.Exclusive(),
			Observe: b.log.Observe, ObserveJournal: b.log.ObserveJournal,
		}
		if !module.Exclusive() {
			b.journals = journalDir
			coordination.Journals = func(key []byte) (journal.Directory, error) {
				disk, err := journal.NewDisk(journalDir, key)
				if err != nil {
					return nil, err
				}
				disk.Room = &b.journalRoom
				return disk, nil
			}
		}
		b.coordinator = renew.New(b.cache, coordination)
		b.lifecycle = lifecycle.New(b.cache)
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	b := value.(*backend)
	if b.settings != module.Settings() {
		b.release()
		return nil, errSettings
	}
	return b, nil
}

// roomBesides is what recordings leave free besides what a journal keeps room for: it is
// made for the first claim, and grows.
const roomBesides = 32 << 20

// room returns what recordings in dir leave free of the disk that the journal is on, nil if
// there is no journal or no such directory. a is the configuration that they come with.
func (b *backend) room(a *App, dir string) *body.Room {
	if b.journals == "" || dir == "" {
		return nil
	}
	return body.NewRoom(dir, b.journals, a.journalRoom()*journal.Reserve+roomBesides)
}

// processName says who refreshed a credential, to those who ask for it later.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// errSettings refuses what would take another opening of the same store.
var errSettings = errors.New("the running configuration has the same file open with another key_file: " +
	"stop Caddy and start it again to change that")

// add makes a configuration that starts the one that the store logs for, and whose
// providers what an exited process left is finished with. The store outlives it and
// must not hold on to its logger.
func (b *backend) add(a *App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps = append(b.apps, a)
	b.setLogger(a.logger)
	b.journalRoom.Store(a.journalRoom())
}

// remove takes back a configuration that stops: one that was replaced, or one that
// failed to start and leaves the store to the one before.
func (b *backend) remove(a *App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.apps, a); i >= 0 {
		b.apps = slices.Delete(b.apps, i, i+1)
	}
	if n := len(b.apps); n > 0 {
		b.setLogger(b.apps[n-1].logger)
	}
}

func (b *backend) setLogger(logger *slog.Logger) {
	if store, ok := b.store.(stores.LoggerSetter); ok {
		store.SetLogger(logger)
	}
	b.log.SetLogger(logger)
}

// provider returns a provider of the newest configuration that has it.
func (b *backend) provider(name string) *renew.Provider {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range slices.Backward(b.apps) {
		if p := a.providers[name]; p != nil {
			return p.Provider
		}
	}
	return nil
}

// use adds a user to the newest configuration that runs. ok is false if there is none.
func (b *backend) use() (release func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.apps) == 0 {
		return nil, false
	}
	newest := b.apps[len(b.apps)-1].use
	return newest.release, newest.acquire()
}

// credentials finds those of requests. What it logs is logger's.
func (b *backend) credentials(logger *slog.Logger) *upstream.Credentials {
	return &upstream.Credentials{
		Cache: b.cache, Coordinator: b.coordinator,
		Fetch: func(ctx context.Context, p *upstream.Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
			return b.lifecycle.Fetch(ctx, p, tenant, rejected, logger)
		},
	}
}

// release gives one use back.
func (b *backend) release() { _, _ = backends.Delete(b.key) }

// drainTimeout is how long a store that is not used any more is kept open for
// tokens that are still to be stored. After that they are left to the journal.
const drainTimeout = 2 * time.Minute

// Destruct closes the store once nothing is under way any more. It does not keep a
// reload waiting. At the process's end the app has waited already.
func (b *backend) Destruct() error {
	if caddy.Exiting() {
		b.drain(0)
		return nil
	}
	go b.drain(drainTimeout)
	return nil
}

func (b *backend) drain(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_ = b.coordinator.Wait(ctx)
	b.coordinator.Close()
	if timeout > 0 {
		_ = b.coordinator.Wait(context.Background()) // what is under way ends by itself now
	}
	_ = b.store.Close()
}

// use counts who uses a configuration: the configuration itself, and every
// request that came in under it. Requests go on after the configuration's
// Cleanup, and what they use must outlive them.
type use struct {
	users atomic.Int64
	done  func()

	release func() // takes a user away
}

// newUse returns a use with one user. done runs when the last one is gone.
func newUse(done func()) *use {
	u := &use{done: done}
	u.users.Store(1)
	u.release = func() {
		if u.users.Add(-1) == 0 {
			u.done()
		}
	}
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
