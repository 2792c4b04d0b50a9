package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// writeIndented writes JSON for people and machines.
func writeIndented(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// line writes one line to standard output.
func (r *commandRun) line(format string, args ...any) {
	_, _ = fmt.Fprintln(r.OutOrStdout(), printable(fmt.Sprintf(format, args...)))
}

// printable returns text without what a terminal would obey. What is in a credential's
// document was written by others.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// table writes rows in columns.
func (r *commandRun) table(rows [][]string) {
	w := tabwriter.NewWriter(r.OutOrStdout(), 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = w.Flush()
}

// writeTenants writes a list of tenants.
func writeTenants(r *commandRun, page *tenantPage) {
	if len(page.Tenants) == 0 {
		r.PrintErrln("No tenant has a credential.")
	} else {
		rows := [][]string{{"TENANT", "STATUS", "VERSION", "WRITTEN", "BY", "EXPIRES", "LAST FAILURE"}}
		ends := slices.ContainsFunc(page.Tenants, func(t rest.Tenant) bool { return !t.RefreshTokenExpiresAt.IsZero() })
		if ends {
			rows[0] = slices.Insert(rows[0], 6, "REFRESH TOKEN EXPIRES")
		}
		for _, t := range page.Tenants {
			row := []string{
				t.ID, status(t.Description), strconv.FormatUint(t.Version, 10), relative(t.WrittenAt), orDash(t.WrittenBy), relative(t.ExpiresAt), lastFailure(t.LastOutcome),
			}
			if ends {
				row = slices.Insert(row, 6, relative(t.RefreshTokenExpiresAt))
			}
			rows = append(rows, row)
		}
		r.table(rows)
	}
	if page.Next != "" {
		r.PrintErrln("There are more: --after " + string(page.Next))
	}
}

// showTenant writes what is told of a tenant's credential.
func showTenant(r *commandRun, raw json.RawMessage) error {
	return show(r, raw, func(body *rest.Tenant) { r.table(tenantRows(body)) })
}

func tenantRows(t *rest.Tenant) [][]string {
	rows := [][]string{
		{"Tenant", t.ID},
		{"Provider", t.Provider},
		{"Status", status(t.Description)},
	}
	if t.Problem != "" {
		rows = append(rows, []string{"Problem", t.Problem})
	}
	if t.Version > 0 {
		rows = append(rows, []string{"Version", strconv.FormatUint(t.Version, 10)})
	}
	if !t.WrittenAt.IsZero() || t.WrittenBy != "" {
		rows = append(rows, []string{"Written", absolute(t.WrittenAt) + by(t.WrittenBy)})
	}
	if !t.ExpiresAt.IsZero() {
		rows = append(rows, []string{"Expires", absolute(t.ExpiresAt)})
	}
	if !t.RefreshTokenExpiresAt.IsZero() {
		rows = append(rows, []string{"Refresh token expires", absolute(t.RefreshTokenExpiresAt)})
	}
	if o := t.LastOutcome; o != nil {
		rows = append(rows, []string{"Last outcome", fmt.Sprintf("%s, %s%s", o.Outcome, absolute(o.At), words(o))})
	}
	for _, path := range slices.Sorted(maps.Keys(t.Credentials)) {
		rows = append(rows, []string{"Field " + path, string(t.Credentials[path])})
	}
	return rows
}

// lastFailure is the last outcome if it is a failure.
func lastFailure(o *rest.Outcome) string {
	if o == nil || !o.Failure {
		return "-"
	}
	return fmt.Sprintf("%s %s%s", o.Outcome, humanize.Time(o.At), words(o))
}

// words are what is known of an outcome.
func words(o *rest.Outcome) string {
	text := ": " + o.Message
	if o.ErrorDescription != "" {
		text += " (" + o.ErrorDescription + ")"
	}
	if o.RetryAt.After(time.Now()) {
		text += "; tried again from " + o.RetryAt.Format(time.RFC3339) + " on"
	}
	return text
}

// status is a credential's status in words.
func status(d lifecycle.Description) string {
	if d.Disabled {
		return d.Status + ", refreshes disabled"
	}
	return d.Status
}

// relative is a time as seen from now.
func relative(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return humanize.Time(t)
}

// absolute is relative, and the time itself.
func absolute(t time.Time) string {
	if t.IsZero() {
		return "at a time that the store does not tell"
	}
	return humanize.Time(t) + " (" + t.UTC().Format(time.RFC3339) + ")"
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
