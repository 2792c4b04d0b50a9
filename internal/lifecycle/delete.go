package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Delete revokes a tenant's credential, if its provider has a way to, and removes it
// from the store. With force it is removed even if it cannot be revoked. Requests
// through this process do without it from then on. What replaces it while it is being
// revoked has to meet condition too, and is revoked before it is removed.
//
// Once begun it goes on when ctx ends: a credential that is revoked must not stay.
//
// Errors: [credential.ErrNotFound]; [ErrPrecondition]; an [upstream.RevocationError], after
// which it is still there; [credential.ErrConflict] if others kept writing;
// [credential.ErrReadOnly]; [credential.ErrUnavailable], which leaves open whether it
// is gone.
func (e *Service) Delete(ctx context.Context, p *upstream.Provider, tenant credential.Tenant, condition Precondition, force bool) (revoked bool, err error) {
	ctx = context.WithoutCancel(ctx)
	key := p.Key(tenant)
	var last *credential.Credential // that was to be revoked
	for range rounds {
		present, _, err := e.read(ctx, key)
		switch {
		case errors.Is(err, credential.ErrNotFound):
			e.cache.SetAbsent(key)
			if last != nil {
				return revoked, nil // somebody else was faster
			}
			return false, err
		case errors.Is(err, credential.ErrInvalid): // nothing in it could be revoked
		case err != nil:
			return revoked, fmt.Errorf("read the present credential: %w", err)
		}
		if err := condition.check(present, err); err != nil {
			return revoked, err
		}
		if present == nil || p.Revocation == nil || last != nil && sameJSON(last.JSON(), present.JSON()) {
			return revoked, e.remove(ctx, key)
		}
		err = p.Revoke(ctx, present)
		if errors.Is(err, upstream.ErrNoRevocation) {
			return revoked, e.remove(ctx, key)
		}
		if err != nil && !force {
			return false, err
		}
		revoked, last = err == nil, present
	}
	return revoked, fmt.Errorf("delete the credential: %w", credential.ErrConflict)
}

// remove removes what is there from the store.
func (e *Service) remove(ctx context.Context, key credential.Key) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := e.store.Delete(ctx, key); err != nil {
		e.cache.Forget(key)
		return fmt.Errorf("delete the credential: %w", err)
	}
	e.cache.SetAbsent(key)
	return nil
}

// Revoke ends a tenant's credential at its provider and leaves it in the store.
// Errors: [upstream.ErrNoRevocation], an [upstream.RevocationError], those of [Service.Get].
func (e *Service) Revoke(ctx context.Context, p *upstream.Provider, tenant credential.Tenant) error {
	if p.Revocation == nil {
		return upstream.ErrNoRevocation
	}
	cred, err := e.Get(ctx, p, tenant)
	if err != nil {
		return err
	}
	return p.Revoke(ctx, cred)
}
