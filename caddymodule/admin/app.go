package admin

import (
	"log/slog"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// App is what the administration API needs of the app upstream_auth.
type App interface {
	// Provider returns the provider of that name, nil if there is none.
	Provider(name string) *upstream.Provider

	// Service has what requests are answered with.
	Service() *rest.Service

	// Checks are what there is to look at of all that the app needs.
	Checks() []explain.Check

	// Use keeps the configuration's store open until it is released. ok is false after its
	// last use.
	Use() (release func(), ok bool)

	Logger() *slog.Logger
}
