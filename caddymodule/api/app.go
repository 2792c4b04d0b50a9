package api

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// App is what these handlers need of the app upstream_auth.
type App interface {
	// Provider returns the provider of that name, nil if there is none.
	Provider(name string) *upstream.Provider

	// CheckWritable refuses what writes credentials beside a store that takes no writes.
	CheckWritable(what string) error

	// Service has what requests are answered with.
	Service() *rest.Service

	// AddChecks adds to what there is to look at of all that the app needs.
	AddChecks(checks ...explain.Check)

	// Use keeps the configuration's store open until it is released. ok is false after its
	// last use.
	Use() (release func(), ok bool)
}

// appOf returns the app, and its provider of that name.
func appOf(ctx caddy.Context, name string) (App, *upstream.Provider, error) {
	module, err := ctx.App(config.AppName)
	if err != nil {
		return nil, nil, err
	}
	app := module.(App)
	provider := app.Provider(name)
	if provider == nil {
		return nil, nil, fmt.Errorf("no provider %q is configured", name)
	}
	return app, provider, nil
}
