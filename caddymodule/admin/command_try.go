package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

func testCommand() *cobra.Command {
	cmd := forTenant(&cobra.Command{
		Use:   "test --provider <name> --tenant <name> [--refresh]",
		Short: "Finds out whether a tenant's credential is accepted",
		Long: `Makes the provider's test request with the credential that the tenant's requests are
sent with, and says what the upstream answers. An expired token is refreshed first, as
for any request. One that is answered 401 is not, unless --refresh is given: then it is
refreshed and tested once more.

The exit status is 1 if the test fails.`,
		Example: "  caddy upstream-auth test --provider crm --tenant acme",
		Args:    cobra.NoArgs,
		RunE:    command(runTest),
	})
	cmd.Flags().Bool("refresh", false, "Refresh a credential that is answered 401, and test it once more")
	return cmd
}

func runTest(r *commandRun) error {
	path, err := r.tenant()
	if err != nil {
		return err
	}
	var request rest.TestRequest
	request.Refresh, _ = r.Flags().GetBool("refresh")
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	raw, err := r.client.do(http.MethodPost, path+"/test", string(body))
	if err != nil {
		return err
	}
	var result rest.TestResult
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	if err := show(r, raw, func(t *rest.TestResult) { r.table(testRows(r, t)) }); err != nil || result.OK {
		return err
	}
	return &commandError{Code: "test_failed", Message: result.Message, Hint: result.ToDo}
}

func testRows(r *commandRun, t *rest.TestResult) [][]string {
	rows := [][]string{{"Tenant", r.text("tenant")}, {"Provider", r.text("provider")}, {"Test", map[bool]string{true: "ok", false: "failed"}[t.OK]}}
	if t.Status != 0 {
		rows = append(rows, []string{"Status", strconv.Itoa(t.Status)})
	}
	rows = append(rows, []string{"Took", (time.Duration(t.DurationMS) * time.Millisecond).String()}, []string{"Version", strconv.FormatUint(t.Version, 10)})
	if t.Refreshed {
		rows = append(rows, []string{"Refreshed", "for this test"})
	}
	return rows
}
