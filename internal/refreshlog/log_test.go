package refreshlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refreshlog"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// observed is a log that what is observed goes to.
func observed() (*refreshlog.Log, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return refreshlog.New(slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))), out
}

// The same trouble of any number of tenants is a few lines, until it changes or a while
// has passed.
func TestTheSameTroubleIsLoggedAFewTimes(t *testing.T) {
	log, out := observed()
	now := time.Now()
	fail := func(at time.Time, tenant int, status int) {
		log.Observe(renew.Event{
			Kind: renew.Failed, Provider: "crm", Tenant: credential.Tenant(fmt.Sprint("tenant-", tenant)), At: at,
			Status: status, Err: fmt.Errorf("%w: token endpoint answered %d", renew.ErrFailed, status),
		})
	}
	lines := func() int {
		n := strings.Count(out.String(), "\n")
		out.Reset()
		return n
	}
	for i := range 1000 {
		fail(now.Add(time.Duration(i)*time.Millisecond), i, 401)
	}
	if n := lines(); n != 3 {
		t.Errorf("1000 times the same are %d lines", n)
	}
	fail(now.Add(2*time.Second), 1, 404)
	if n := lines(); n != 1 {
		t.Errorf("something else is %d lines", n)
	}
	fail(now.Add(5*time.Minute), 1, 401)
	if text := out.String(); !strings.Contains(text, `"repeated":997`) {
		t.Errorf("a while later: %q", text)
	}
	lines()
	for i := range 20 {
		log.Observe(renew.Event{Kind: renew.Refreshed, Provider: "crm", At: now.Add(time.Duration(i))})
	}
	if n := lines(); n != 20 {
		t.Errorf("20 successes are %d lines", n)
	}
	// It forgets what it logged rather than remember without end.
	for range 4 {
		fail(now, 1, 599)
	}
	for i := range 1000 {
		fail(now, 1, 600+i)
	}
	lines()
	if fail(now, 1, 599); lines() != 1 {
		t.Error("a thousand other troubles later it is still remembered")
	}
}

func TestLinesOfEvents(t *testing.T) {
	for _, c := range []struct {
		event renew.Event
		level string
		want  []string
	}{
		{renew.Event{Kind: renew.Refreshed, Duration: time.Second, FromJournal: true}, "INFO", []string{"credential refreshed", `"from_journal":true`, `"duration":1000000000`}},
		{renew.Event{Kind: renew.Refused, Status: 400, Code: "invalid_grant", Description: "expired", Err: renew.ErrReauthorizationRequired}, "WARN",
			[]string{"refresh failed for good", `"status":400`, `"oauth2_error":"invalid_grant"`, `"error_description":"expired"`}},
		{renew.Event{Kind: renew.Failed, Err: renew.ErrFailed, Cooldown: time.Second, Count: 2}, "WARN", []string{"refresh failed", `"cooldown":1000000000`, `"in_a_row":2`}},
		{renew.Event{Kind: renew.WaitedInVain, Err: renew.ErrFailed, Duration: 15 * time.Second, ClaimAge: time.Minute}, "WARN", []string{"refresh failed", `"duration":15000000000`, `"claimed_for":60000000000`}},
		{renew.Event{Kind: renew.Waiting, ClaimAge: time.Second}, "DEBUG", []string{"another process refreshes"}},
		{renew.Event{Kind: renew.Waiting, ClaimAge: time.Minute, TakeoverAt: time.Unix(1e9, 0).UTC()}, "WARN", []string{"an old claim of another process is waited for", "2001-09-09"}},
		{renew.Event{Kind: renew.TakenOver, ClaimAge: time.Minute}, "WARN", []string{"a claim is taken over"}},
		{renew.Event{Kind: renew.SentAgain}, "WARN", []string{"a refresh token is sent again"}},
		{renew.Event{Kind: renew.Adopted}, "WARN", []string{"an exited process left a refresh unfinished"}},
		{renew.Event{Kind: renew.Rejected, Err: renew.ErrFailed}, "WARN", []string{"upstream rejected a refreshed credential"}},
		{renew.Event{Kind: renew.JournalFailed, Err: errors.New("disk full"), Cooldown: time.Second}, "ERROR", []string{"no refresh without a journal", "disk full"}},
		{renew.Event{Kind: renew.JournalFailed, Err: errors.New("disk full")}, "ERROR", []string{"new tokens are in memory only"}},
		{renew.Event{Kind: renew.CommitDelayed}, "ERROR", []string{"a refreshed credential waits for the store to take it"}},
		{renew.Event{Kind: renew.Disabled}, "INFO", []string{"no refresh, as an operator has disabled it"}},
		{renew.Event{Kind: renew.Panicked}, "ERROR", []string{"a defect of this program ended a refresh"}},
		{renew.Event{Kind: renew.StoreFailed, Err: renew.ErrFailed}, "WARN", []string{"refresh failed"}},
		{renew.Event{Kind: renew.Claimed}, "DEBUG", []string{"refresh token claimed"}},
	} {
		log, out := observed()
		c.event.Provider, c.event.Tenant, c.event.At = "crm", "canary-tenant", time.Now()
		log.Observe(c.event)
		for _, want := range append(c.want, `"level":"`+c.level+`"`, `"provider":"crm"`) {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %s in %s", c.event.Kind, want, out)
			}
		}
		if strings.Contains(out.String(), "canary") {
			t.Errorf("the line names the tenant: %s", out)
		}
	}
}
