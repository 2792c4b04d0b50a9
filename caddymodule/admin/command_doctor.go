package admin

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

// checkCaddy is the name of what the command itself finds.
const checkCaddy = "caddy"

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Finds out what is wrong with the setup, and says what to do",
		Long: `Looks at all that the running configuration needs: that the store answers, that
Caddy is logged in to it and may do what it has to, that clocks agree, that the
journal can be written, that files are there, that token endpoints and
applications can be reached, that the settings agree with the metadata of an
issuer, and that the last refreshes went well. It sends nothing to those but a
greeting, and asks the issuer for its metadata.

Credentials that are disabled, or whose tenants must sign in again, are counted and
are nothing wrong. Neither is a site that others than this machine can reach, though
it is told.

For what is wrong it says what to do. The exit status is 1 then.`,
		Example: "  caddy upstream-auth doctor --config /etc/caddy/Caddyfile",
		Args:    cobra.NoArgs,
		RunE:    command(runDoctor),
	}
}

func runDoctor(r *commandRun) error {
	raw, err := r.client.get("/upstream_auth/doctor")
	if err != nil {
		// That is the finding.
		e := asCommandError(err)
		if raw, err = json.Marshal(explain.Report{Findings: []credential.Finding{{Check: checkCaddy, Detail: e.Message, Remedy: e.Hint}}}); err != nil {
			return fmt.Errorf("writing the finding: %w", err)
		}
	}
	var d explain.Report
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	if err := show(r, raw, func(d *explain.Report) { writeReport(r, d) }); err != nil {
		return err
	}
	wrong := 0
	for _, f := range d.Findings {
		if !f.OK {
			wrong++
		}
	}
	if d.Healthy && wrong == 0 {
		return nil
	}
	return &commandError{Code: "unhealthy", Message: fmt.Sprintf("%d of %d checks found something wrong", wrong, len(d.Findings))}
}

func writeReport(r *commandRun, d *explain.Report) {
	for _, f := range d.Findings {
		word := "WRONG"
		if f.OK {
			word = "ok"
		}
		r.line("%-6s %s: %s", word, f.Check, f.Detail)
		if f.Remedy != "" {
			r.line("       %s", f.Remedy)
		}
	}
}
