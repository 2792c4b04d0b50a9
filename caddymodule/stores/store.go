// Package stores holds the Caddy modules in the namespace upstream_auth.stores, which say
// where credentials are kept, and the interface that such modules implement. A store from
// another plugin works like those here.
package stores

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Namespace is that of the modules, each of which is a [Store].
const Namespace = "upstream_auth.stores"

// Store is a module that is configured, and says how its store is opened.
//
// To provision it dials, opens and creates nothing. To set it up in a Caddyfile it
// implements [caddyfile.Unmarshaler].
type Store interface {
	caddy.Module

	// ReadOnly reports whether credentials are read and never written, for want of
	// check-and-set. It is asked before the module is provisioned, too.
	ReadOnly() bool

	// Key names the store that is meant, with all settings in which two uses of one
	// store may differ. Configurations with the same key share one opened store.
	Key() string

	// Settings are those that all users of one store have to agree on. A configuration
	// whose store is open with other settings is refused.
	Settings() string

	// Exclusive reports whether no other process can have the store open. Such a store
	// needs no journal beside it.
	Exclusive() bool

	// New makes the store. It dials, opens and creates nothing.
	New(logger *slog.Logger) (Opener, credential.CacheOptions, error)
}

// Signer is a [Store] whose Opener signs with keys that it keeps, as [vaultstore.Store] does.
type Signer interface {
	Store
	SignsWithTransit()
}

// Opener is a store that can be opened and closed, once each.
type Opener interface {
	credential.Store

	// Open opens the store. One on the network may go on trying in the background: an
	// error keeps Caddy from starting.
	Open() error

	// Close closes it, after its last use.
	Close() error
}

// LoggerSetter is an [Opener] that logs. It outlives the configuration that it came
// with, and must not hold on to that one's logger.
type LoggerSetter interface {
	SetLogger(logger *slog.Logger)
}

// Read makes the module of a store's JSON, which is not provisioned.
func Read(configuration json.RawMessage) (Store, error) {
	var named struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(configuration, &named); err != nil {
		return nil, err
	}
	info, err := caddy.GetModule(Namespace + "." + named.Type)
	if err != nil {
		return nil, err
	}
	store, ok := info.New().(Store)
	if !ok {
		return nil, fmt.Errorf("'%s' is not a store", named.Type)
	}
	return store, json.Unmarshal(configuration, store)
}
