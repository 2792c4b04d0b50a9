package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Fetch returns the credential that the application has for tenant, after storing
// it: instead of none, or of rejected, which is beyond refreshing. What somebody else
// has stored meanwhile goes before it.
//
// Any number of calls for one tenant ask the application once, and that goes on when
// ctx ends. Errors: [credential.ErrNotFound]; [ErrSame]; an [upstream.TestError]; an
// [upstream.FetchError]; [credential.ErrInvalid], [credential.ErrUnavailable] and
// [credential.ErrReadOnly]; that of ctx.
func (e *Service) Fetch(ctx context.Context, p *upstream.Provider, tenant credential.Tenant, rejected *credential.Credential, logger *slog.Logger) (*credential.Credential, error) {
	if rejected != nil {
		if held, err := e.cache.Get(ctx, p.Key(tenant)); err == nil && !same(held, rejected) {
			return held, nil // another request was ahead
		}
	}
	if err := e.fetches.known(p, tenant, rejected); err != nil {
		return nil, err
	}
	result := e.fetches.flights.DoChan(p.Name+"/"+string(tenant), func() (any, error) {
		ctx := context.WithoutCancel(ctx)
		cred, err := e.fetch(ctx, p, tenant, rejected, logger)
		e.fetches.note(p, tenant, err)
		return cred, err
	})
	select {
	case r := <-result:
		cred, _ := r.Val.(*credential.Credential)
		if r.Err == nil && same(cred, rejected) {
			return nil, ErrSame // the flight was for others, who had none
		}
		return cred, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ErrSame says that the application has the same credential as the one rejected.
var ErrSame = errors.New("the application has the same credential")

func (e *Service) fetch(ctx context.Context, p *upstream.Provider, tenant credential.Tenant, rejected *credential.Credential, logger *slog.Logger) (*credential.Credential, error) {
	leave, err := p.Budget.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	key := p.Key(tenant)
	began := time.Now()
	present, version, err := e.read(ctx, key)
	switch {
	case err == nil && !same(present, rejected):
		e.cache.SetSince(key, present, began)
		return present, nil
	case err != nil && !errors.Is(err, credential.ErrNotFound):
		return nil, err // what is there is no credential, or nobody knows
	}
	document, err := p.Fetch.Ask(ctx, p, tenant)
	if err == nil && present != nil && brings(present.JSON(), document) {
		return nil, ErrSame
	}
	if err == nil {
		document, err = accept(ctx, p, document)
	}
	if err != nil {
		logger.Warn("no credential from the application", "provider", p.Name, "error", err)
		return nil, err
	}
	cred, err := e.write(ctx, key, Change{Document: document, By: "fetch"}, present, version)
	if errors.Is(err, credential.ErrConflict) {
		// Another process was ahead.
		began = time.Now()
		if cred, _, err = e.read(ctx, key); err == nil {
			e.cache.SetSince(key, cred, began)
		}
		return cred, err
	}
	if err == nil {
		logger.Info("credential fetched from the application", "provider", p.Name, "version", cred.Version())
	}
	return cred, err
}

// brings reports whether all that a document says is in the one that is there, to which
// nothing but tokens that were obtained with it may have been added.
func brings(present, document []byte) bool {
	for key, value := range gjson.ParseBytes(document).Map() {
		if held := gjson.ParseBytes(present).Map()[key]; !held.Exists() || !sameJSON([]byte(held.Raw), []byte(value.Raw)) {
			return false
		}
	}
	return true
}

// same reports whether a credential says the same as the one rejected, if there is one.
func same(cred, rejected *credential.Credential) bool {
	return rejected != nil && (cred == rejected || sameJSON(cred.JSON(), rejected.JSON()))
}
