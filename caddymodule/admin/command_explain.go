package admin

import (
	"strings"

	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	return forTenant(&cobra.Command{
		Use:   "explain --provider <name> --tenant <name>",
		Short: "Says what becomes of a tenant's requests",
		Long: `Says what a tenant's requests are sent with, from which version of the credential,
when that expires, who wrote it last, how its last refresh ended, what happens when
the upstream answers 401, and what a person has to do, if anything. What is secret stands there by name.`,
		Example: "  caddy upstream-auth explain --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE: command(func(r *commandRun) error {
			path, err := r.tenant()
			if err != nil {
				return err
			}
			raw, err := r.client.get(path + "/explain")
			if err != nil {
				return err
			}
			return show(r, raw, func(e *explanationBody) { writeExplanation(r, e) })
		}),
	})
}

func writeExplanation(r *commandRun, e *explanationBody) {
	rows := tenantRows(&e.Tenant)
	for _, s := range e.Sets {
		text := s.Name + ": " + s.Value
		if s.In == "query" {
			text = "?" + s.Name + "=" + s.Value
		}
		rows = append(rows, []string{"Sent with", text})
	}
	hosts := "the upstreams of its sites: the provider has no allowed_hosts"
	if len(e.AllowedHosts) > 0 {
		hosts = strings.Join(e.AllowedHosts, ", ")
	}
	rows = append(rows, []string{"Sent to", hosts})
	r.table(rows)
	r.line("")
	r.line("A request: %s", e.Request)
	r.line("After a 401: %s", e.On401)
	if e.ToDo != "" {
		r.line("To do: %s", e.ToDo)
	}
}
