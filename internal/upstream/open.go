package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// Coordinator is what of [renew.Coordinator] requests need.
type Coordinator interface {
	// Refresh returns a credential other than the rejected one, or says why there
	// is none: [renew.ErrReauthorizationRequired], [renew.ErrUnchanged] or
	// anything else for "not now". It goes on when ctx ends, without the caller.
	Refresh(ctx context.Context, p *renew.Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error)

	// Ahead renews a credential in the background that is about to expire.
	Ahead(p *renew.Provider, tenant credential.Tenant, cred *credential.Credential)

	// Rejected and Accepted report what the upstream said to a refreshed credential.
	Rejected(p *renew.Provider, tenant credential.Tenant, cred *credential.Credential)
	Accepted(p *renew.Provider, tenant credential.Tenant, cred *credential.Credential)
}

// Credentials finds tenants' credentials for requests, and others for those that an
// upstream rejects.
type Credentials struct {
	Cache *credential.Cache
	Coordinator

	// Fetch asks the application for the credential of a tenant that has none, or whose
	// credential is beyond refreshing. It is called for providers with a Fetch alone.
	Fetch func(ctx context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error)
}

// Opened is a tenant's credential, ready for a request.
type Opened struct {
	*Ready
	Credential *credential.Credential

	// Fresh says that it was renewed just now, so that its rejection is one of a fresh
	// token.
	Fresh bool

	// Expired says why it could not be renewed, if it has expired.
	Expired error

	// Waited says that the request has waited, as the upstream had asked for.
	Waited bool
}

// Open finds the credential of a tenant and makes it ready. One that has expired, or has
// no token yet, is renewed first, by the same way as one that an upstream rejects, if that
// can be done in time; without a fresh one the upstream has the last word on an old one.
//
// Errors: [credential.ErrNotFound], [credential.ErrInvalid], [credential.ErrUnavailable],
// a [budget.Error], a [TooSoonError], that of ctx; without a token those of [Credentials.Renew].
func (c *Credentials) Open(ctx context.Context, p *Provider, tenant credential.Tenant) (opened Opened, err error) {
	if p.RetryAfter == nil {
		return c.open(ctx, p, tenant)
	}
	waited, err := p.RetryAfter.await(ctx, tenant)
	if err == nil {
		opened, err = c.open(ctx, p, tenant)
	}
	opened.Waited = waited
	return opened, err
}

func (c *Credentials) open(ctx context.Context, p *Provider, tenant credential.Tenant) (Opened, error) {
	now := time.Now()
	cred, err := c.find(ctx, now, p, tenant)
	if errors.Is(err, credential.ErrNotFound) && p.Fetch != nil {
		cred, err = c.Fetch(ctx, p, tenant, nil)
		now = time.Now() // the application takes its time
	}
	if err != nil {
		return Opened{}, err
	}
	ready, err := p.Ready(cred)
	if ready.Unobtained {
		return c.Renew(ctx, p, tenant, cred)
	}
	if ready.expires {
		switch {
		case !now.Before(ready.expiresAt):
			fresh, expired := c.renew(ctx, p, tenant, cred)
			if expired != nil {
				return Opened{Ready: ready, Credential: cred, Expired: expired}, err
			}
			ready, err = p.Ready(fresh)
			return Opened{Ready: ready, Credential: fresh, Fresh: true}, err
		case !now.Before(ready.aheadFrom):
			c.Ahead(p.Provider, tenant, cred)
		}
	}
	return Opened{Ready: ready, Credential: cred}, err
}

// Find finds the credential of a tenant in the store, as it is. Errors are those of
// [Credentials.Open].
func (c *Credentials) Find(ctx context.Context, p *Provider, tenant credential.Tenant) (*credential.Credential, error) {
	return c.find(ctx, time.Now(), p, tenant)
}

func (c *Credentials) find(ctx context.Context, now time.Time, p *Provider, tenant credential.Tenant) (*credential.Credential, error) {
	return c.Cache.GetThrough(ctx, now, p.Budget, p.Key(tenant))
}

// Renew returns another credential than the one that an upstream rejected, ready for a
// request. Errors are those of [renew.Coordinator.Refresh], with a [budget.Error] in it if
// too many wait, and [credential.ErrInvalid].
func (c *Credentials) Renew(ctx context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (Opened, error) {
	fresh, err := c.renew(ctx, p, tenant, rejected)
	if err != nil {
		return Opened{}, err
	}
	ready, err := p.Ready(fresh)
	return Opened{Ready: ready, Credential: fresh, Fresh: true}, err
}

// renew asks the application for a credential that is beyond refreshing. Over the budget
// for requests that wait nothing is waited for, and the credential refreshed all the same.
func (c *Credentials) renew(ctx context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	account, spent := p.Budget.Take(string(tenant), budget.Refreshes)
	if spent != nil {
		ended, end := context.WithCancelCause(ctx)
		end(spent)
		return c.Refresh(ended, p.Provider, tenant, rejected)
	}
	defer account.Give(budget.Refreshes, 1)
	cred, err := c.Refresh(ctx, p.Provider, tenant, rejected)
	if p.Fetch == nil || !p.beyondRefreshing(err) {
		return cred, err
	}
	fetched, fetchErr := c.Fetch(ctx, p, tenant, rejected)
	if fetchErr != nil {
		return nil, err
	}
	if ready, _ := p.Ready(fetched); ready.Unobtained {
		return c.Refresh(ctx, p.Provider, tenant, fetched)
	}
	return fetched, nil
}

// beyondRefreshing reports whether what a refresh came to says that the tenant needs another
// credential: also one with another client, if the client that was refused is its own.
func (p *Provider) beyondRefreshing(err error) bool {
	if errors.Is(err, renew.ErrReauthorizationRequired) || errors.Is(err, renew.ErrUnchanged) {
		return true
	}
	refused, ok := errors.AsType[*tokenrequest.Error](err)
	if !ok || refused.Code != "invalid_client" {
		return false
	}
	o := p.OAuth2()
	return o != nil && o.Server(err).HasOwnClient()
}
