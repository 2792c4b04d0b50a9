package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
)

const (
	// defaultPage and maxPage are how many tenants a page has.
	defaultPage = 100
	maxPage     = 1000

	// pageReads is how many credentials of a page are read at the same time.
	pageReads = 8
)

// tenantPage is a part of the tenants that a provider has, by their names. Next is
// what to go on after, if there may be more.
type tenantPage struct {
	Tenants []tenantBody      `json:"tenants"`
	Next    credential.Tenant `json:"next,omitempty"`
}

func adminList(w http.ResponseWriter, c *adminCall) error {
	query := c.URL.Query()
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return badRequest("limit is not a number from 1 to " + strconv.Itoa(maxPage))
		}
	}
	names, err := c.app.backend.lifecycle.List(c.Context(), c.provider, credential.Tenant(query.Get("after")), limit+1)
	if err != nil {
		return err
	}
	page := tenantPage{Tenants: []tenantBody{}}
	if len(names) > limit {
		names = names[:limit]
		page.Next = names[limit-1]
	}
	found, err := c.describeAll(names)
	if err != nil {
		return err
	}
	for _, body := range found {
		if body != nil { // else deleted
			page.Tenants = append(page.Tenants, *body)
		}
	}
	return writeJSON(w, http.StatusOK, page)
}

// describeAll describes the credentials of tenants; nil stands for one that is deleted.
func (c *adminCall) describeAll(tenants []credential.Tenant) ([]*tenantBody, error) {
	found := make([]*tenantBody, len(tenants))
	group, ctx := errgroup.WithContext(c.Context())
	group.SetLimit(pageReads)
	for i, tenant := range tenants {
		group.Go(func() error {
			cred, d, err := c.describe(ctx, tenant)
			if errors.Is(err, credential.ErrNotFound) {
				return nil
			}
			body := c.tell(tenant, cred, d)
			found[i] = &body
			return err
		})
	}
	return found, group.Wait()
}

// describe reads a tenant's credential and says what may be told of it. For a document
// that is no credential it returns nil and a description.
func (c *adminCall) describe(ctx context.Context, tenant credential.Tenant) (*credential.Credential, lifecycle.Description, error) {
	cred, err := c.app.backend.lifecycle.Get(ctx, c.provider, tenant)
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return nil, lifecycle.DescribeInvalid(err), nil
	case err != nil:
		return nil, lifecycle.Description{}, err
	}
	return cred, lifecycle.Describe(c.provider, cred), nil
}

// tell adds to the description of a tenant's credential what happened to it last. cred is
// nil if there is none that could be used.
func (c *adminCall) tell(tenant credential.Tenant, cred *credential.Credential, d lifecycle.Description) tenantBody {
	return tenantBody{
		ID: string(tenant), Provider: c.provider.Name, Description: d,
		LastOutcome: newOutcomeBody(c.app.lastOutcome(c.provider, tenant, cred)),
	}
}

// answerTenant tells what may be told of a credential.
func (c *adminCall) answerTenant(w http.ResponseWriter, cred *credential.Credential, d lifecycle.Description) error {
	if d.Version > 0 {
		w.Header().Set("ETag", entityTag(d.Version))
	}
	return writeJSON(w, http.StatusOK, c.tell(c.tenant, cred, d))
}

func adminGet(w http.ResponseWriter, c *adminCall) error {
	cred, d, err := c.describe(c.Context(), c.tenant)
	if err != nil {
		return err
	}
	return c.answerTenant(w, cred, d)
}

func adminPut(w http.ResponseWriter, c *adminCall) error {
	condition, err := precondition(c.Header)
	if err != nil {
		return err
	}
	document, err := readBody(c.Request)
	if err != nil {
		return err
	}
	cred, err := c.app.backend.lifecycle.Put(c.Context(), c.provider, c.tenant, lifecycle.Change{
		Document: document, If: condition, By: "admin", Logger: c.app.logger,
	})
	if err != nil {
		return err
	}
	return c.answerTenant(w, cred, lifecycle.Describe(c.provider, cred))
}

func adminDelete(w http.ResponseWriter, c *adminCall) error {
	condition, err := precondition(c.Header)
	if err != nil {
		return err
	}
	force := c.URL.Query().Get("force") == "true"
	revoked, err := c.app.backend.lifecycle.Delete(c.Context(), c.provider, c.tenant, condition, force)
	if err != nil {
		return err
	}
	c.app.logger.Info("credential deleted", "provider", c.provider.Name, "revoked", revoked)
	return writeJSON(w, http.StatusOK, deletedBody{Deleted: true, Revoked: revoked})
}
