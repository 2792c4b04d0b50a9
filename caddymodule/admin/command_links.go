package admin

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func connectLinkCommand() *cobra.Command {
	cmd := forTenant(&cobra.Command{
		Use:   "connect-link --provider <name> --tenant <name> [--return-to <url>] [--handoff] [--account <claim>=<value>] [--parameter <path>=<value>]",
		Short: "Makes a link by which an end user connects an account",
		Long: `Makes a link to send to an end user, who connects an account with it in a
browser, or fills in a form with a key if the directive has one. Whoever has the link
can do so, until it expires, was used or was withdrawn. It takes the directive
upstream_auth_connect.

With --handoff a code is needed, too, which is to reach the person in another
way. With --account, which may be repeated, only an account will do of which the
id token or the userinfo says so. With --parameter, which may be repeated, the
person is not asked for that: see ask in the directive.`,
		Example: `  caddy upstream-auth connect-link --provider crm --tenant acme
  caddy upstream-auth connect-link --provider crm --tenant acme --handoff --account email=jo@acme.example`,
		Args: cobra.NoArgs,
		RunE: command(runConnectLink),
	})
	cmd.Flags().String("return-to", "", "Where the browser is sent afterwards, one of the configured addresses (default: a page of Caddy's)")
	cmd.Flags().Bool("handoff", false, "Have the link need a code, which is written to standard error")
	cmd.Flags().StringToString("account", nil, "A claim of the account that is to be connected, and its value")
	cmd.Flags().StringToString("parameter", nil, "A field that the site asks for, and its value")
	return cmd
}

func runConnectLink(r *commandRun) error {
	path, err := r.tenant()
	if err != nil {
		return err
	}
	request := rest.LinkRequest{ReturnTo: r.text("return-to")}
	request.Handoff, _ = r.Flags().GetBool("handoff")
	request.Account, _ = r.Flags().GetStringToString("account")
	request.Parameters, _ = r.Flags().GetStringToString("parameter")
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	raw, err := r.client.do(http.MethodPost, path+"/connect-link", string(body))
	if err != nil {
		return err
	}
	return show(r, raw, func(link *rest.Link) {
		r.line("%s", link.URL)
		if link.Handoff != "" {
			r.PrintErrln("It needs the code " + link.Handoff + ".")
		}
		r.PrintErrln("It expires " + humanize.Time(link.ExpiresAt) + ".")
	})
}

func withdrawLinksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "withdraw-links --provider <name> --tenant <name> | --all",
		Short: "Makes links useless by which end users could connect accounts",
		Long: `Makes all links useless by which end users could connect an account to a tenant, or
with --all those of all tenants, by new keys that links are sealed with. Running
Caddys notice the former at once, the latter within ten seconds.`,
		Example: `  caddy upstream-auth withdraw-links --provider crm --tenant acme
  caddy upstream-auth withdraw-links --all`,
		Args: cobra.NoArgs,
		RunE: command(runWithdrawLinks),
	}
	cmd.Flags().String("provider", "", "Name of the provider")
	cmd.Flags().String("tenant", "", "Name of the tenant")
	cmd.Flags().Bool("all", false, "Withdraw the links of all tenants")
	cmd.MarkFlagsRequiredTogether("provider", "tenant")
	cmd.MarkFlagsOneRequired("tenant", "all")
	cmd.MarkFlagsMutuallyExclusive("tenant", "all")
	return cmd
}

func runWithdrawLinks(r *commandRun) (err error) {
	path, what := "/upstream_auth/connect-links", "all links"
	if all, _ := r.Flags().GetBool("all"); !all {
		if path, err = r.tenant(); err != nil {
			return err
		}
		path, what = path+"/connect-link", "the links of "+r.title()
	}
	raw, err := r.client.do(http.MethodDelete, path, "")
	if err != nil {
		return err
	}
	return show(r, raw, func(*rest.Withdrawn) { r.line("Withdrew %s.", what) })
}
