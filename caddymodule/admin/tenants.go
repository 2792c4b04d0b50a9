package admin

import (
	"errors"
	"net/http"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
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
	Tenants []rest.Tenant     `json:"tenants"`
	Next    credential.Tenant `json:"next,omitempty"`
}

func adminList(w http.ResponseWriter, c *adminCall) error {
	query := c.URL.Query()
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return rest.BadRequest("limit is not a number from 1 to " + strconv.Itoa(maxPage))
		}
	}
	names, err := c.collection.Lifecycle.List(c.Context(), c.collection.Provider, credential.Tenant(query.Get("after")), limit+1)
	if err != nil {
		return err
	}
	page := tenantPage{Tenants: []rest.Tenant{}}
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
	return rest.WriteJSON(w, http.StatusOK, page)
}

// describeAll describes the credentials of tenants; nil stands for one that is deleted.
func (c *adminCall) describeAll(tenants []credential.Tenant) ([]*rest.Tenant, error) {
	found := make([]*rest.Tenant, len(tenants))
	group, ctx := errgroup.WithContext(c.Context())
	group.SetLimit(pageReads)
	for i, tenant := range tenants {
		group.Go(func() error {
			cred, d, err := c.collection.Describe(ctx, tenant)
			if errors.Is(err, credential.ErrNotFound) {
				return nil
			}
			body := c.collection.Tell(tenant, cred, d)
			found[i] = &body
			return err
		})
	}
	return found, group.Wait()
}

func adminPut(w http.ResponseWriter, c *adminCall) error {
	document, err := rest.ReadBody(c.Request)
	if err != nil {
		return err
	}
	return c.collection.Put(w, c.Request, c.tenant, lifecycle.Change{Document: document})
}
