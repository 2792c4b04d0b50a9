package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

func TestSeveralObserversAreTold(t *testing.T) {
	var told []string
	all := observers{
		func(e renew.Event) { told = append(told, "first "+string(e.Kind)) },
		func(e renew.Event) { told = append(told, "second "+string(e.Kind)) },
	}
	all.observe(renew.Event{Kind: renew.Refreshed})
	if got := strings.Join(told, ", "); got != "first refreshed, second refreshed" {
		t.Errorf("got %q", got)
	}
}

// observed is a log that what is observed goes to.
func observed() (*refreshLog, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return newRefreshLog(slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))), out
}

// The same trouble of any number of tenants is a few lines, until it changes or a while
// has passed.
func TestTheSameTroubleIsLoggedAFewTimes(t *testing.T) {
	log, out := observed()
	now := time.Now()
	fail := func(at time.Time, tenant int, status int) {
		log.observe(renew.Event{
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
	if n := lines(); n != maxRepeated {
		t.Errorf("1000 times the same are %d lines", n)
	}
	fail(now.Add(2*time.Second), 1, 404)
	if n := lines(); n != 1 {
		t.Errorf("something else is %d lines", n)
	}
	fail(now.Add(repeatInterval), 1, 401)
	if text := out.String(); !strings.Contains(text, fmt.Sprintf(`"repeated":%d`, 1000-maxRepeated)) {
		t.Errorf("a while later: %q", text)
	}
	lines()
	for i := range 20 {
		log.observe(renew.Event{Kind: renew.Refreshed, Provider: "crm", At: now.Add(time.Duration(i))})
	}
	if n := lines(); n != 20 {
		t.Errorf("20 successes are %d lines", n)
	}
	for i := range 10 * maxTroubles {
		fail(now, 1, i)
	}
	if n := len(log.repeated); n > maxTroubles {
		t.Errorf("%d troubles are remembered", n)
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
		log.observe(c.event)
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

// The log is that of the configuration that runs.
func TestRefreshesAreLoggedByTheRunningConfiguration(t *testing.T) {
	server := newScripted(t, map[string]scriptedAnswer{
		"crm":     {200, `{"access_token":"canary-new","refresh_token":"canary-new-2"}`},
		"billing": {401, `{"error":"invalid_client","error_description":"no such client"}`},
	})
	credentials := map[credential.Key]string{{Provider: "crm", Tenant: "globex"}: tokens}
	for i := range 10 {
		credentials[key(credential.Tenant(fmt.Sprint("globex-", i)))] = tokens
	}
	s := administered(t, credentials)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	for _, file := range []string{"first.log", "second.log"} {
		text := strings.Replace(s.caddyfile(server.provider("crm")+server.provider("billing"), "upstream_auth crm 127.0.0.1:1"),
			"level ERROR", "level DEBUG\noutput file "+s.path(file)+"\nexclude admin.api", 1)
		conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load(conf, true); err != nil {
			t.Fatal(err)
		}
	}
	s.ask(t, "POST", "crm/tenants/globex/refresh", "{}", nil)
	for i := range 10 {
		s.ask(t, "POST", fmt.Sprintf("billing/tenants/globex-%d/refresh", i), "{}", nil)
	}
	text, err := os.ReadFile(s.path("second.log"))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for line := range bytes.Lines(text) {
		var l struct {
			Logger, Msg, Provider, Error string
			Status                       int
			OAuth2Error                  string `json:"oauth2_error"`
			ErrorDescription             string `json:"error_description"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if l.Logger != "upstream_auth" {
			continue
		}
		counts[l.Msg]++
		if strings.Contains(string(line), "globex") || strings.Contains(string(line), "canary") {
			t.Errorf("the line names the tenant or a token: %s", line)
		}
		if l.Msg == "refresh failed" && (l.Provider != "billing" || l.Status != 401 || l.OAuth2Error != "invalid_client" || l.ErrorDescription != "no such client") {
			t.Errorf("got %s", line)
		}
	}
	if counts["credential refreshed"] != 1 || counts["refresh failed"] != maxRepeated {
		t.Errorf("got %v", counts)
	}
	if text, _ := os.ReadFile(s.path("first.log")); bytes.Contains(text, []byte("credential refreshed")) {
		t.Error("the configuration before logs still")
	}
}
