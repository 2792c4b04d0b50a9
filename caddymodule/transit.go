package caddymodule

import (
	"errors"
	"fmt"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// usesTransit reports whether a scheme has the store sign.
func (conf *Provider) usesTransit() bool {
	return slices.ContainsFunc(conf.schemes, func(s scheme.Scheme) bool {
		user, ok := s.(schemes.TransitUser)
		return ok && user.UsesTransit()
	})
}

// errNoTransit refuses a key that there is nobody to keep.
var errNoTransit = errors.New("a key in vault_transit needs 'store vault'")

// useTransit gives the store to schemes that have it sign.
func (a *App) useTransit() error {
	store, signs := a.backend.store.(schemes.Transit)
	for name, conf := range a.Providers {
		if !signs && conf.usesTransit() {
			return fmt.Errorf("upstream_auth: provider %s: %w", name, errNoTransit)
		}
		for _, s := range conf.schemes {
			if user, ok := s.(schemes.TransitUser); ok && user.UsesTransit() {
				user.UseTransit(store)
			}
		}
	}
	return nil
}
