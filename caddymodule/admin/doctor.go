package admin

import (
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func adminDoctor(w http.ResponseWriter, c *adminCall) error {
	return rest.WriteJSON(w, http.StatusOK, explain.Run(c.Context(), c.app.Checks()))
}
