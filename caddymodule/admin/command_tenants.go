package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func listCommand() *cobra.Command {
	cmd := forProvider(&cobra.Command{
		Use:   "list --provider <name> [--after <tenant>] [--limit <n>]",
		Short: "Lists the tenants that have a credential",
		Long: `Lists the tenants of a provider that have a credential, in the order of their
names, with what may be told of each: its status, its version, who wrote it and
when, when its access token expires, and how its last refresh failed, if it did.

All are listed unless --limit says otherwise.`,
		Example: `  caddy upstream-auth list --provider crm
  caddy upstream-auth list --provider crm --json | jq -r '.tenants[] | select(.status != "ready") | .id'`,
		Args: cobra.NoArgs,
		RunE: command(runList),
	})
	cmd.Flags().String("after", "", "List the tenants after this one")
	cmd.Flags().Int("limit", 0, "How many tenants to list, at most "+strconv.Itoa(maxPage)+" (default: all)")
	return cmd
}

// rawPage is a [tenantPage] whose tenants are passed on as they are.
type rawPage struct {
	Tenants []json.RawMessage `json:"tenants"`
	Next    string            `json:"next,omitempty"`
}

func runList(r *commandRun) error {
	path, err := r.provider()
	if err != nil {
		return err
	}
	query := url.Values{"after": {r.text("after")}, "limit": {strconv.Itoa(maxPage)}}
	all := true
	if r.Flags().Changed("limit") {
		limit, _ := r.Flags().GetInt("limit")
		query.Set("limit", strconv.Itoa(limit))
		all = false
	}
	result := rawPage{Tenants: []json.RawMessage{}}
	for {
		raw, err := r.client.get(path + "?" + query.Encode())
		if err != nil {
			return err
		}
		var page rawPage
		if err := json.Unmarshal(raw, &page); err != nil {
			return fmt.Errorf("reading Caddy's answer: %w", err)
		}
		result.Tenants = append(result.Tenants, page.Tenants...)
		if result.Next = page.Next; page.Next == "" || !all {
			break
		}
		query.Set("after", page.Next)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("putting the pages together: %w", err)
	}
	return show(r, raw, func(page *tenantPage) { writeTenants(r, page) })
}

func getCommand() *cobra.Command {
	return forTenant(&cobra.Command{
		Use:   "get --provider <name> --tenant <name>",
		Short: "Shows what may be told of a tenant's credential",
		Long: `Shows what may be told of a tenant's credential: its status, its version, who
wrote it and when, when its access token expires, how its last refresh ended, and
the fields that the provider exposes. It shows no secret.`,
		Example: "  caddy upstream-auth get --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE: command(func(r *commandRun) error {
			path, err := r.tenant()
			if err != nil {
				return err
			}
			raw, err := r.client.get(path)
			if err != nil {
				return err
			}
			return showTenant(r, raw)
		}),
	})
}

func putCommand() *cobra.Command {
	cmd := forTenant(&cobra.Command{
		Use:   "put --provider <name> --tenant <name> [--file <path>]",
		Short: "Stores a tenant's credential",
		Long: `Stores a tenant's credential, in place of the one before: a JSON object with the
fields that the provider needs. It is read from standard input, or from the file
that --file names, and checked before it is stored.

It is never taken from arguments, which end up in process lists and in the
history of shells.`,
		Example: `  caddy upstream-auth put --provider crm --tenant acme < credential.json
  caddy upstream-auth put --provider crm --tenant acme --file credential.json
  pass show acme/crm | caddy upstream-auth put --provider crm --tenant acme`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 { // and is not repeated here
				return inputInvalid("put takes no arguments: the credential is read from standard input or from --file. " +
					"If a secret stands on the command line now, it is in the shell's history")
			}
			return nil
		},
		RunE: command(runPut),
	})
	cmd.Flags().String("file", "", "File with the credential (default: standard input)")
	return cmd
}

func runPut(r *commandRun) error {
	path, err := r.tenant()
	if err != nil {
		return err
	}
	document, err := r.credential()
	if err != nil {
		return err
	}
	raw, err := r.client.do(http.MethodPut, path, document)
	if err != nil {
		return err
	}
	return showTenant(r, raw)
}

// credential reads what is to be stored.
func (r *commandRun) credential() (string, error) {
	input := r.InOrStdin()
	if name := r.text("file"); name != "" {
		file, err := os.Open(name)
		if err != nil {
			return "", inputInvalid("--file: " + err.Error())
		}
		defer file.Close()
		input = file
	} else if file, ok := input.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return "", inputInvalid("standard input is a terminal: give the credential by '< file', by a pipe, or with --file")
	}
	document, err := io.ReadAll(io.LimitReader(input, credential.MaxSize+1))
	switch {
	case err != nil:
		return "", inputInvalid("reading the credential: " + err.Error())
	case len(document) == 0:
		return "", inputInvalid("there is no credential: the input is empty")
	case len(document) > credential.MaxSize:
		return "", inputInvalid(fmt.Sprintf("the credential is larger than %d bytes", credential.MaxSize))
	}
	return string(document), nil
}

func deleteCommand() *cobra.Command {
	cmd := forTenant(&cobra.Command{
		Use:   "delete --provider <name> --tenant <name> [--force]",
		Short: "Revokes a tenant's credential and deletes it",
		Long: `Ends a tenant's credential at its provider, if the configuration says how, and
deletes it from the store. If it cannot be revoked it is kept, unless --force is
given.`,
		Example: "  caddy upstream-auth delete --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE:    command(runDelete),
	})
	cmd.Flags().Bool("force", false, "Delete it even if it cannot be revoked")
	return cmd
}

func runDelete(r *commandRun) error {
	path, err := r.tenant()
	if err != nil {
		return err
	}
	if force, _ := r.Flags().GetBool("force"); force {
		path += "?force=true"
	}
	raw, err := r.client.do(http.MethodDelete, path, "")
	if err != nil {
		return err
	}
	return show(r, raw, func(body *rest.Deleted) {
		if body.Revoked {
			r.line("Revoked and deleted %s.", r.title())
		} else {
			r.line("Deleted %s. It was not revoked at its provider.", r.title())
		}
	})
}
