package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Service has what the answers are made of.
type Service struct {
	Lifecycle   *lifecycle.Service
	Coordinator *renew.Coordinator
	Credentials *upstream.Credentials
	Links       Links
}

// Collection is what one caller may ask for of one provider.
type Collection struct {
	*Service
	Provider *upstream.Provider

	// By is who writes, in documents.
	By string

	// Operator is a caller who may know what is of no use to a tenant: the token
	// endpoint's words.
	Operator bool

	Logger *slog.Logger
}

// Tenant is what is told of a tenant.
type Tenant struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	lifecycle.Description
	LastOutcome *Outcome `json:"last_outcome,omitempty"`
}

// Describe reads a tenant's credential and says what may be told of it. For a document
// that is no credential it returns nil and a description.
func (c *Collection) Describe(ctx context.Context, tenant credential.Tenant) (*credential.Credential, lifecycle.Description, error) {
	cred, err := c.Lifecycle.Get(ctx, c.Provider, tenant)
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return nil, lifecycle.DescribeInvalid(err), nil
	case err != nil:
		return nil, lifecycle.Description{}, err
	}
	return cred, lifecycle.Describe(c.Provider, cred), nil
}

// Tell adds to the description of a tenant's credential what happened to it last. cred is
// nil if there is none that could be used.
func (c *Collection) Tell(tenant credential.Tenant, cred *credential.Credential, d lifecycle.Description) Tenant {
	told := Tenant{ID: string(tenant), Provider: c.Provider.Name, Description: d}
	if last := c.LastOutcome(tenant, cred); c.Operator {
		told.LastOutcome = newOutcome(last)
	} else {
		told.LastOutcome = publicOutcome(last)
		if strings.Contains(told.WrittenBy, "/") { // a host and its process
			told.WrittenBy = "refresh"
		}
	}
	return told
}

// LastOutcome returns what happened last to cred, nil if that is not known, or if it
// happened to what was in the store before cred.
func (c *Collection) LastOutcome(tenant credential.Tenant, cred *credential.Credential) *renew.Event {
	if cred == nil {
		return nil
	}
	e, known := c.Coordinator.LastOutcome(credential.Key{Provider: c.Provider.Name, Tenant: tenant})
	if !known || !e.Concerns(cred) {
		return nil
	}
	return &e
}

// answer tells what may be told of a credential.
func (c *Collection) answer(w http.ResponseWriter, tenant credential.Tenant, cred *credential.Credential, d lifecycle.Description) error {
	if d.Version > 0 {
		w.Header().Set("ETag", entityTag(d.Version))
	}
	return WriteJSON(w, http.StatusOK, c.Tell(tenant, cred, d))
}

// Get answers with what may be told of a tenant's credential.
func (c *Collection) Get(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	cred, d, err := c.Describe(r.Context(), tenant)
	if err != nil {
		return err
	}
	return c.answer(w, tenant, cred, d)
}

// Put makes a change, if the request's preconditions hold.
func (c *Collection) Put(w http.ResponseWriter, r *http.Request, tenant credential.Tenant, change lifecycle.Change) (err error) {
	if change.If, err = precondition(r.Header); err != nil {
		return err
	}
	change.By, change.Logger = c.By, c.Logger
	cred, err := c.Lifecycle.Put(r.Context(), c.Provider, tenant, change)
	if err != nil {
		return err
	}
	return c.answer(w, tenant, cred, lifecycle.Describe(c.Provider, cred))
}

// Deleted says that a credential is gone, and whether it was ended at its provider.
type Deleted struct {
	Deleted bool `json:"deleted"`
	Revoked bool `json:"revoked"`
}

// Delete revokes a credential and deletes it, if the request's preconditions hold. With
// force=true in the query it is deleted even if it cannot be revoked.
func (c *Collection) Delete(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	condition, err := precondition(r.Header)
	if err != nil {
		return err
	}
	force := r.URL.Query().Get("force") == "true"
	revoked, err := c.Lifecycle.Delete(r.Context(), c.Provider, tenant, condition, force)
	if err != nil {
		return err
	}
	c.Logger.Info("credential deleted", "provider", c.Provider.Name, "revoked", revoked)
	return WriteJSON(w, http.StatusOK, Deleted{Deleted: true, Revoked: revoked})
}

// Refresh refreshes a credential now.
func (c *Collection) Refresh(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	if err := readOptional(r, new(struct{})); err != nil {
		return err
	}
	if c.Provider.Renewer == nil {
		return errNotRefreshable
	}
	cred, err := c.Coordinator.RefreshNow(r.Context(), c.Provider.Provider, tenant)
	if err != nil {
		return err
	}
	return c.answer(w, tenant, cred, lifecycle.Describe(c.Provider, cred))
}

// Revoked says that a credential was ended at its provider.
type Revoked struct {
	Revoked bool `json:"revoked"`
}

// Revoke ends a credential at its provider and leaves it in the store.
func (c *Collection) Revoke(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	if err := readOptional(r, new(struct{})); err != nil {
		return err
	}
	if err := c.Lifecycle.Revoke(r.Context(), c.Provider, tenant); err != nil {
		return err
	}
	c.Logger.Info("credential revoked", "provider", c.Provider.Name)
	return WriteJSON(w, http.StatusOK, Revoked{Revoked: true})
}

// Connect answers with a link by which a tenant connects an account.
func (c *Collection) Connect(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	var body LinkRequest
	if err := readOptional(r, &body); err != nil {
		return err
	}
	link, err := c.Links.new(r.Context(), c.Provider.Name, tenant, body)
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, link)
}

// WithdrawLinks makes the links useless by which a tenant could connect an account.
func (c *Collection) WithdrawLinks(w http.ResponseWriter, r *http.Request, tenant credential.Tenant) error {
	if !c.Links.Has(c.Provider.Name) {
		return errNoConnect
	}
	if err := c.Links.Registry.Withdraw(r.Context(), c.Provider.Key(tenant)); err != nil {
		return err
	}
	c.Logger.Info("links to connect withdrawn", "provider", c.Provider.Name)
	return WriteJSON(w, http.StatusOK, Withdrawn{Withdrawn: true})
}

// Withdrawn says that links to connect are of no use any more.
type Withdrawn struct {
	Withdrawn bool `json:"withdrawn"`
}
