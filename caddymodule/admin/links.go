package admin

import (
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// adminWithdrawLinks makes all links to connect useless, whoever's they are.
func adminWithdrawLinks(w http.ResponseWriter, c *adminCall) error {
	if err := c.app.Service().Links.Registry.WithdrawAll(c.Context()); err != nil {
		return err
	}
	c.logger().Info("all links to connect withdrawn")
	return rest.WriteJSON(w, http.StatusOK, rest.Withdrawn{Withdrawn: true})
}
