package caddymodule_test

import (
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/stores"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

func init() {
	caddy.RegisterModule(new(sharedStore))
}

// sharedStore is a store that other processes may use at the same time, in memory.
type sharedStore struct {
	Name string `json:"name"`
}

// sharedStores are the stores by the names of their tests.
var sharedStores sync.Map

func (*sharedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.stores.shared_test", New: func() caddy.Module { return new(sharedStore) }}
}

func (*sharedStore) ReadOnly() bool   { return false }
func (*sharedStore) Settings() string { return "" }
func (s *sharedStore) Key() string    { return "shared " + s.Name }
func (*sharedStore) Exclusive() bool  { return false }

func (s *sharedStore) New(*slog.Logger) (stores.Opener, credential.CacheOptions, error) { //nolint:unparam // as stores.Store has it
	store, _ := sharedStores.Load(s.Name)
	return openMemory{store.(*storetest.Memory)}, credential.CacheOptions{}, nil
}

type openMemory struct{ *storetest.Memory }

func (openMemory) Open() error  { return nil }
func (openMemory) Close() error { return nil }

// startOnSharedStore is start with a store that other processes may use, too.
func (s *sidecar) startOnSharedStore(t *testing.T, store *storetest.Memory, providers, site string) {
	t.Helper()
	sharedStores.Store(t.Name(), store)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.caddyfile(providers, site)), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Admin, Logging, Storage json.RawMessage
		Apps                    map[string]json.RawMessage
	}
	var app map[string]json.RawMessage
	if err := json.Unmarshal(conf, &object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(object.Apps["upstream_auth"], &app); err != nil {
		t.Fatal(err)
	}
	app["store"], _ = json.Marshal(map[string]string{"type": "shared_test", "name": t.Name()})
	app["journal"], _ = json.Marshal(s.path("journal"))
	object.Apps["upstream_auth"], _ = json.Marshal(app)
	conf, err = json.Marshal(map[string]any{"admin": object.Admin, "logging": object.Logging, "storage": object.Storage, "apps": object.Apps})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	if err := caddy.Load(conf, true); err != nil {
		t.Fatal(err)
	}
}
