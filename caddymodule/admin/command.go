package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "upstream-auth",
		Usage: "<command>",
		Short: "Looks after the credentials that upstream_auth sends for tenants",
		Long: `
Looks after the credentials that upstream_auth sends for tenants: lists, shows,
stores, tests, refreshes, revokes and deletes them, says what becomes of a tenant's
requests, and finds out what is wrong with the setup.

The commands talk to a running Caddy, over its administration endpoint. Its
address is that of the --address flag if specified; otherwise it is loaded from
the config file that --config names; otherwise the default is assumed.

No command shows a secret. A new credential is read from standard input or a
file, never from arguments, which end up in process lists and in the history of
shells.

With --json the answer is JSON on standard output, and an error is JSON on
standard error, with a code that stays the same. (With --config, Caddy's own log
of how it reads that file goes to standard error, too.) The exit status is 0 if
all went well, and 1 if not.
`,
		CobraFunc: addCommands,
	})
}

// addCommands makes cmd the parent of the commands.
func addCommands(cmd *cobra.Command) {
	cmd.Long = strings.TrimSpace(cmd.Long)
	cmd.Args = cobra.NoArgs // an unknown command is an error
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	flags := cmd.PersistentFlags()
	flags.StringP("address", "", "", "Address of the administration API listener (if --config is not used)")
	flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	flags.BoolP("json", "", false, "Write JSON, errors included")
	cmd.AddCommand(
		listCommand(), getCommand(), putCommand(), deleteCommand(),
		refreshCommand(), testCommand(), revokeCommand(), connectLinkCommand(), withdrawLinksCommand(),
		explainCommand(), doctorCommand(),
	)
}

// forProvider adds the flag that names a provider.
func forProvider(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("provider", "", "Name of the provider (required)")
	_ = cmd.MarkFlagRequired("provider")
	return cmd
}

// forTenant adds the flags that name a provider and a tenant.
func forTenant(cmd *cobra.Command) *cobra.Command {
	forProvider(cmd)
	cmd.Flags().String("tenant", "", "Name of the tenant (required)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

// commandRun is one run of a command.
type commandRun struct {
	*cobra.Command
	client *adminClient
	json   bool
}

// command makes a function that cobra runs. Errors are written as the flags say.
func command(f func(*commandRun) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		run := &commandRun{Command: cmd}
		run.json, _ = cmd.Flags().GetBool("json")
		var err error
		if run.client, err = newAdminClient(cmd.Flags()); err == nil {
			err = f(run)
		}
		if err != nil && run.json {
			cmd.SilenceErrors = true
			return errors.Join(err, writeIndented(cmd.ErrOrStderr(), asCommandError(err)))
		}
		return err
	}
}

// commandError is an error of a command.
type commandError struct {
	// Code is that of the administration API, or of the command itself:
	// caddy_unreachable, caddy_refused, input_invalid, test_failed, unhealthy.
	Code    string `json:"code"`
	Message string `json:"message"`

	// Hint is what to do.
	Hint string `json:"hint,omitempty"`
}

func (e *commandError) Error() string {
	text := fmt.Sprintf("%s (%s)", printable(e.Message), e.Code)
	if e.Hint != "" {
		text += "\n" + e.Hint
	}
	return text
}

func asCommandError(err error) *commandError {
	if own, ok := errors.AsType[*commandError](err); ok {
		return own
	}
	return &commandError{Code: "failed", Message: err.Error()}
}

func inputInvalid(message string) *commandError {
	return &commandError{Code: "input_invalid", Message: message}
}

// text returns the value of a flag.
func (r *commandRun) text(flag string) string {
	value, _ := r.Flags().GetString(flag)
	return value
}

// provider returns the path of the provider that the flags name.
func (r *commandRun) provider() (string, error) {
	name := r.text("provider")
	if err := credential.CheckProvider(name); err != nil {
		return "", inputInvalid("--provider: " + err.Error())
	}
	return "/upstream_auth/" + name + "/tenants", nil
}

// tenant returns the path of the tenant that the flags name.
func (r *commandRun) tenant() (string, error) {
	path, err := r.provider()
	if err != nil {
		return "", err
	}
	tenant, err := credential.ParseTenant(r.text("tenant"))
	if err != nil {
		return "", inputInvalid("--tenant: " + err.Error())
	}
	return path + "/" + escape(string(tenant)), nil
}

// title names what a command was about.
func (r *commandRun) title() string { return r.text("provider") + " / " + r.text("tenant") }

// show writes an answer: as it is, or in words.
func show[T any](r *commandRun, raw json.RawMessage, words func(*T)) error {
	if r.json {
		return writeIndented(r.OutOrStdout(), raw)
	}
	answer := new(T)
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	words(answer)
	return nil
}
