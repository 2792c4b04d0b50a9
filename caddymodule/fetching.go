package caddymodule

import (
	"context"
	"errors"
	"log/slog"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/enroll"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
	"github.com/upstreamauth/caddy-upstream-auth/internal/wire"
)

// fetchingCoordinator asks the application when a credential is beyond refreshing.
type fetchingCoordinator struct {
	*refresh.Coordinator
	enroller *enroll.Enroller
	provider *enroll.Provider
	logger   *slog.Logger
}

// Refresh implements [wire.Coordinator].
func (c *fetchingCoordinator) Refresh(ctx context.Context, p *refresh.Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	cred, err := c.Coordinator.Refresh(ctx, p, tenant, rejected)
	if !errors.Is(err, refresh.ErrReauthorizationRequired) && !errors.Is(err, refresh.ErrUnchanged) {
		return cred, err
	}
	fetched, fetchErr := c.enroller.Fetch(ctx, c.provider, tenant, rejected, c.logger)
	if fetchErr != nil {
		return nil, err
	}
	return fetched, nil
}

var _ wire.Coordinator = (*fetchingCoordinator)(nil)
