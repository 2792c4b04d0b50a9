package admin

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dustin/go-humanize"
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

func connectLinkCommand() *cobra.Command {
	cmd := forTenant(&cobra.Command{
		Use:   "connect-link --provider <name> --tenant <name> [--return-to <url>]",
		Short: "Makes a link by which an end user connects an account",
		Long: `Makes a link to send to an end user, who connects an account with it in a
browser. Whoever has the link can do so, until it expires or was used. It takes
the directive upstream_auth_connect.`,
		Example: "  caddy upstream-auth connect-link --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE:    command(runConnectLink),
	})
	cmd.Flags().String("return-to", "", "Where the browser is sent afterwards, one of the configured addresses (default: a page of Caddy's)")
	return cmd
}

func runConnectLink(r *commandRun) error {
	path, err := r.tenant()
	if err != nil {
		return err
	}
	body, err := json.Marshal(rest.LinkRequest{ReturnTo: r.text("return-to")})
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	raw, err := r.client.do(http.MethodPost, path+"/connect-link", string(body))
	if err != nil {
		return err
	}
	return show(r, raw, func(link *rest.Link) {
		r.line("%s", link.URL)
		r.PrintErrln("It expires " + humanize.Time(link.ExpiresAt) + ".")
	})
}
