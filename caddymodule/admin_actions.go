package caddymodule

import (
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
)

var errNoRefresh = &apiError{http.StatusConflict, "not_refreshable", "the provider has no oauth2: its credentials are not refreshed"}

// noBody refuses members in a body that says nothing.
func (c *adminCall) noBody() error {
	return readJSON(c.Request, true, new(struct{}))
}

func adminRefresh(w http.ResponseWriter, c *adminCall) error {
	if err := c.noBody(); err != nil {
		return err
	}
	if c.provider.Renewer == nil {
		return errNoRefresh
	}
	cred, err := c.app.backend.coordinator.RefreshNow(c.Context(), c.provider.Provider, c.tenant)
	if err != nil {
		return err
	}
	return c.answerTenant(w, cred, lifecycle.Describe(c.provider, cred))
}

// revokedBody says that a credential was ended at its provider.
type revokedBody struct {
	Revoked bool `json:"revoked"`
}

func adminRevoke(w http.ResponseWriter, c *adminCall) error {
	if err := c.noBody(); err != nil {
		return err
	}
	if err := c.app.backend.lifecycle.Revoke(c.Context(), c.provider, c.tenant); err != nil {
		return err
	}
	c.app.logger.Info("credential revoked", "provider", c.provider.Name)
	return writeJSON(w, http.StatusOK, revokedBody{Revoked: true})
}

func adminConnectLink(w http.ResponseWriter, c *adminCall) error {
	var body linkRequest
	if err := readJSON(c.Request, true, &body); err != nil {
		return err
	}
	link, err := c.app.connectLink(c.Context(), c.provider.Name, c.tenant, body.ReturnTo)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, link)
}
