package vaultstore

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// listTimeout bounds a list whose context has no deadline.
	listTimeout = 10 * time.Second

	// maxLooks is how many tenants are looked at at a time, where each takes a
	// request of its own.
	maxLooks = 8
)

// List implements [credential.Store]. Without a deadline in ctx it takes 10 seconds
// at most. It needs the capability list below the mount's metadata, which nothing
// else does. Vault knows no pages, so that each call has it tell all names; a list
// of more than 8 MiB is an [ErrUnavailable].
//
// Where {tenant} is not the last segment of the path, Vault lists the tenants'
// folders, and those that follow after are looked into until limit are found.
//
// [ErrUnavailable]: credential.ErrUnavailable
func (s *Store) List(ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	if err := credential.CheckProvider(provider); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := withTimeout(ctx, listTimeout)
	defer cancel()
	defer s.leave()
	if err := s.enter(ctx); err != nil {
		return nil, unavailable(listing, err)
	}
	segments := strings.Split(s.cfg.PathTemplate, "/")
	segments[slices.Index(segments, providerSegment)] = provider
	tenant := slices.Index(segments, tenantSegment)
	folders := tenant < len(segments)-1

	permission := &credential.PermissionError{Capabilities: []string{"list"}, Path: s.cfg.listRule(provider)}
	names, err := s.names(ctx, segments[:tenant], permission)
	if err != nil {
		return nil, err
	}
	var tenants []credential.Tenant
	for _, name := range names {
		name, isFolder := strings.CutSuffix(name, "/")
		if valid, err := credential.ParseTenant(name); err == nil && isFolder == folders && valid > after {
			tenants = append(tenants, valid)
		}
	}
	slices.Sort(tenants)
	tenants = slices.Compact(tenants)
	if folders {
		return s.withDocument(ctx, segments, permission, tenants, limit)
	}
	return tenants[:min(len(tenants), limit)], nil
}

// withDocument returns those of the tenants that have a document at segments, and
// at most limit.
func (s *Store) withDocument(ctx context.Context, segments []string, permission *credential.PermissionError, tenants []credential.Tenant, limit int) ([]credential.Tenant, error) {
	tenant, last := slices.Index(segments, tenantSegment), len(segments)-1
	var found []credential.Tenant
	for batch := range slices.Chunk(tenants, maxLooks) {
		has := make([]bool, len(batch))
		group, ctx := errgroup.WithContext(ctx)
		for i := range batch {
			group.Go(func() error {
				at := slices.Clone(segments)
				at[tenant] = string(batch[i])
				// By its name alone: a read would fetch the secret.
				names, err := s.names(ctx, at[:last], permission)
				has[i] = slices.Contains(names, at[last])
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		for i := range batch {
			if has[i] {
				found = append(found, batch[i])
			}
		}
		if len(found) >= limit {
			return found[:limit], nil
		}
	}
	return found, nil
}

// listing is what List does, in its errors.
const listing = "listing in Vault"

// names are those that Vault lists below segments, none if there is nothing.
func (s *Store) names(ctx context.Context, segments []string, permission *credential.PermissionError) ([]string, error) {
	path, err := s.cfg.listPath(segments)
	if err != nil {
		return nil, err
	}
	a, err := s.read(ctx, request{method: http.MethodGet, path: path, params: url.Values{"list": {"true"}}})
	if err != nil {
		return nil, unavailable(listing, err)
	}
	switch names, found := parseNames(a); found {
	case present:
		return names, nil
	case absent:
		if err := s.confirmMount(ctx); err != nil {
			return nil, unavailable(listing, err)
		}
		return nil, nil
	default:
		return nil, s.failure(ctx, listing, permission, a)
	}
}
