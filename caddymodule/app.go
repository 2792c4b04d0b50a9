package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/admin"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/api"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/stores"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

func init() {
	caddy.RegisterModule(new(App))
}

// stopTimeout is how long the process waits at its end for refreshes that are
// under way: the deadline of one at the token endpoint, and a little for the
// store.
const stopTimeout = 15 * time.Second

// defaultJournalRoom is as many token requests as one provider has under way to one host.
const defaultJournalRoom = 64

// App holds where credentials are kept and the APIs that they are for. Sites use
// a provider by its name, with the handler `upstream_auth`.
type App struct {
	// Where credentials are kept: Vault (`vault`), or one local file (`local`).
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=upstream_auth.stores inline_key=type"`

	// The directory for what has to survive a crash between a token endpoint's
	// answer and its arrival in Vault: one file for each process, sealed with a key
	// that is kept in Vault. Processes on one machine that share it take over from
	// each other when one dies. It has to be on a file system of the machine's own,
	// and to outlive a restart. The local store needs none. Default:
	// `upstream-auth/journal` below Caddy's data directory.
	Journal string `json:"journal,omitempty"`

	// For how many refreshes at a time the journal keeps room on its disk, 64 KiB each,
	// whatever else fills that. Recorded bodies leave so much of it free, and 32 MiB more.
	// Default: 64.
	JournalRoom int64 `json:"journal_room,omitempty"`

	// What tenants may have in use at the same time.
	Limits *Limits `json:"limits,omitempty"`

	// The upstream APIs and how to authenticate to each, by name. A name matches
	// `^[a-z0-9][a-z0-9_-]{0,62}$`.
	Providers map[string]*Provider `json:"providers,omitempty"`

	backend   *backend
	use       *use
	readOnly  bool // the store takes no writes
	providers map[string]*upstream.Provider
	service   *rest.Service
	stopAlive func() // ends keepAlive
	ctx       caddy.Context
	checks    []explain.Check // besides those that follow from the above
	logger    *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "upstream_auth",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration and prepares the app. Nothing is dialled,
// opened or created: `caddy validate` provisions too.
func (a *App) Provision(ctx caddy.Context) error {
	logger := ctx.Slogger()
	a.ctx, a.logger = ctx, logger
	if a.StoreRaw == nil {
		return errors.New("upstream_auth: no store: name one with 'store vault' or 'store local'")
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("upstream_auth: store: %w", err)
	}
	store, ok := module.(stores.Store)
	if !ok {
		return fmt.Errorf("upstream_auth: store: %T is not a store", module)
	}

	if a.JournalRoom < 0 {
		return errors.New("upstream_auth: journal_room cannot be below zero")
	}
	if err := a.Limits.check(); err != nil {
		return fmt.Errorf("upstream_auth: %w", err)
	}
	a.providers = make(map[string]*upstream.Provider, len(a.Providers))
	for name, conf := range a.Providers {
		p, err := conf.provision(ctx, name)
		if err != nil {
			return fmt.Errorf("upstream_auth: provider %s: %w", name, err)
		}
		if err := conf.checkStore(store); err != nil {
			return fmt.Errorf("upstream_auth: provider %s: %w", name, err)
		}
		a.providers[name] = p
	}

	journalDir, err := a.journalDir()
	if err != nil {
		return fmt.Errorf("upstream_auth: journal: %w", err)
	}
	a.AddChecks(secretFiles(store)...)
	a.AddChecks(adminEndpoint(ctx))
	a.readOnly = store.ReadOnly()
	a.backend, err = acquireBackend(store, journalDir, logger)
	if err != nil {
		return fmt.Errorf("upstream_auth: store: %w", err)
	}
	a.service = &rest.Service{
		Lifecycle: a.backend.lifecycle, Coordinator: a.backend.coordinator, Credentials: a.backend.credentials(logger),
		Links: rest.Links{Registry: links.New(a.backend.store)},
	}
	a.use = newUse(a.backend.release)
	if err := a.useTransit(); err != nil {
		return err
	}
	lookups := a.Limits.lookups(defaultLookups)
	for name, p := range a.providers {
		p.Budget = a.backend.usage.Provider(name, budgets(a.Limits, a.Providers[name].Limits, lookups))
	}
	return nil
}

// Provider returns the provider of that name, nil if there is none.
func (a *App) Provider(name string) *upstream.Provider { return a.providers[name] }

// Service has what requests for credentials are answered with.
func (a *App) Service() *rest.Service { return a.service }

// Logger returns the app's.
func (a *App) Logger() *slog.Logger { return a.logger }

// CheckWritable refuses what writes credentials beside a store that takes no writes.
func (a *App) CheckWritable(what string) error {
	if a.readOnly {
		return needsCheckAndSet(what)
	}
	return nil
}

// Use keeps the store open until it is released. A request that comes in after the last
// use of its configuration, on a connection that was accepted before, has the use of a
// later configuration with the same store. ok is false if there is none.
func (a *App) Use() (release func(), ok bool) {
	if a.use.acquire() {
		return a.use.release, true
	}
	return a.backend.use()
}

// journalDir returns the directory of the journals, an absolute path.
func (a *App) journalDir() (string, error) {
	if a.Journal == "" {
		return filepath.Join(caddy.AppDataDir(), "upstream-auth", "journal"), nil
	}
	resolve := config.NewResolver()
	dir := resolve.Text("journal", a.Journal)
	if resolve.Err() != nil {
		return "", resolve.Err()
	}
	return filepath.Abs(dir)
}

// journalRoom is for how many claims the journal keeps room.
func (a *App) journalRoom() int64 { return cmp.Or(a.JournalRoom, defaultJournalRoom) }

// refreshes reports whether any provider's credentials are refreshed.
func (a *App) refreshes() bool {
	for _, p := range a.providers {
		if p.Renewer != nil {
			return true
		}
	}
	return false
}

// Start opens the store and looks for what exited processes left unfinished. A
// Vault that cannot be reached is no error: requests are answered with 503 until
// it can be.
func (a *App) Start() error {
	a.lookAtSites()
	a.backend.add(a)
	if err := a.backend.store.Open(); err != nil {
		a.backend.remove(a) // Caddy does not stop what did not start
		return fmt.Errorf("upstream_auth: opening the store: %w", err)
	}
	if a.refreshes() {
		a.backend.coordinator.Start()
	}
	a.stopAlive = a.keepAlive()
	a.warn()
	return nil
}

// Stop takes back the app's logger and providers, and keeps no refresh tokens alive any
// more. Refreshes go on.
func (a *App) Stop() error {
	a.stopAlive()
	a.backend.remove(a)
	return nil
}

// Cleanup gives the app's share of the store back, as soon as the last request
// that came in under this configuration is done. When the process ends it waits,
// bounded, for refreshes under way: it comes after all apps have stopped, so none
// is started any more.
func (a *App) Cleanup() error {
	for _, p := range a.providers {
		if p.Fetch != nil {
			p.Fetch.Close()
		}
	}
	if a.use == nil {
		return nil
	}
	defer a.use.release()
	if !caddy.Exiting() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := a.backend.coordinator.Wait(ctx); err != nil {
		return fmt.Errorf("upstream_auth: a refresh was still under way: %w", err)
	}
	return nil
}

// checkStore refuses what writes credentials together with a store that cannot be
// written safely, and what has a store sign that cannot.
func (conf *Provider) checkStore(store stores.Store) error {
	_, signs := store.(stores.Signer)
	readOnly := store.ReadOnly()
	switch {
	case !signs && conf.usesTransit():
		return errNoTransit
	case readOnly && conf.renewer() != nil:
		return needsCheckAndSet(nameOf(conf.renewer()))
	case readOnly && conf.FetchCredentials != nil:
		return needsCheckAndSet("fetch_credentials")
	}
	return nil
}

func needsCheckAndSet(what string) error {
	return fmt.Errorf("%s needs a store with check-and-set, which kv_version 1 does not have", what)
}

var (
	_ api.App            = (*App)(nil)
	_ admin.App          = (*App)(nil)
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
