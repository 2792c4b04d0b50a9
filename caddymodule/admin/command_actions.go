package admin

import (
	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func refreshCommand() *cobra.Command {
	return forTenant(&cobra.Command{
		Use:   "refresh --provider <name> --tenant <name>",
		Short: "Refreshes a tenant's credential now",
		Long: `Obtains new tokens for a tenant and stores them, even if the last attempt failed a
moment ago. It goes by the same protocol as all refreshes: a refresh token that
another process is spending, or that was refused for good, is not sent.`,
		Example: "  caddy upstream-auth refresh --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE: command(func(r *commandRun) error {
			path, err := r.tenant()
			if err != nil {
				return err
			}
			raw, err := r.client.post(path + "/refresh")
			if err != nil {
				return err
			}
			return showTenant(r, raw)
		}),
	})
}

func revokeCommand() *cobra.Command {
	return forTenant(&cobra.Command{
		Use:   "revoke --provider <name> --tenant <name>",
		Short: "Ends a tenant's credential at its provider",
		Long: `Ends a tenant's credential at its provider, as the configuration says, and leaves
it in the store. 'delete' does both.`,
		Example: "  caddy upstream-auth revoke --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE: command(func(r *commandRun) error {
			path, err := r.tenant()
			if err != nil {
				return err
			}
			raw, err := r.client.post(path + "/revoke")
			if err != nil {
				return err
			}
			return show(r, raw, func(*rest.Revoked) { r.line("Revoked %s. It is still in the store.", r.title()) })
		}),
	})
}
