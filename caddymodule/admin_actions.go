package caddymodule

import (
	"net/http"
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
	if c.provider.scheme.OAuth2() == nil {
		return errNoRefresh
	}
	cred, err := c.app.backend.coordinator.RefreshNow(c.Context(), c.provider.refresh, c.tenant)
	if err != nil {
		return err
	}
	return c.answerTenant(w, cred, c.provider.describe(cred))
}

// revokedBody says that a credential was ended at its provider.
type revokedBody struct {
	Revoked bool `json:"revoked"`
}

func adminRevoke(w http.ResponseWriter, c *adminCall) error {
	if err := c.noBody(); err != nil {
		return err
	}
	if err := c.app.backend.enroller.Revoke(c.Context(), c.provider.enroll, c.tenant); err != nil {
		return err
	}
	c.app.logger.Info("credential revoked", "provider", c.provider.name)
	return writeJSON(w, http.StatusOK, revokedBody{Revoked: true})
}

func adminConnectLink(w http.ResponseWriter, c *adminCall) error {
	var body linkRequest
	if err := readJSON(c.Request, true, &body); err != nil {
		return err
	}
	link, err := c.app.connectLink(c.Context(), c.provider.name, c.tenant, body.ReturnTo)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, link)
}
