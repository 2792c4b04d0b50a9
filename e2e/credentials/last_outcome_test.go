package credentials

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// lastOutcome is what commands say of the last refresh of a credential.
type lastOutcome struct {
	At          time.Time
	Outcome     string
	Status      int // of the token endpoint's answer
	Error       string
	Description string `json:"error_description"`
	Message     string
}

// A refresh that came to nothing is told of by every command that says how a tenant or
// the setup is, with what the token endpoint answered, and the doctor names the provider
// and what to do.
func TestFailedRefreshIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*world.World)
		want    lastOutcome // what is not empty
		outcome []string    // one of these
		says    string      // in the words of explain
	}{
		"a wrong client secret": {
			prepare: func(w *world.World) {
				w.File("client-secret", "of-somebody-else\n")
				w.Secrets.Add("the wrong client secret", "of-somebody-else")
			},
			want:    lastOutcome{Status: http.StatusUnauthorized, Error: "invalid_client", Description: "Client authentication failed"},
			outcome: []string{"failed", "refused"}, says: "invalid_client",
		},
		"a token URL where nothing is": {
			prepare: func(w *world.World) {
				w.AuthURL = newEndpointThat(w, http.NotFoundHandler())
			},
			want:    lastOutcome{Status: http.StatusNotFound},
			outcome: []string{"failed", "refused"}, says: "404",
		},
		"an answer without tokens": {
			prepare: func(w *world.World) {
				w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{Instead: func(rw http.ResponseWriter, _ *http.Request) {
						rw.Header().Set("Content-Type", "application/json")
						fmt.Fprint(rw, `{"status":"fine"}`)
					}}
				})
			},
			want:    lastOutcome{Status: http.StatusOK},
			outcome: []string{"failed", "unusable"}, says: "200",
		},
		"no answer": {
			prepare: func(w *world.World) {
				w.Auth.Play(func(authserver.Entry) authserver.Behaviour {
					return authserver.Behaviour{Instead: authserver.HangUp}
				})
			},
			outcome: []string{"no_answer"}, says: "answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCLI(t, test.prepare)
			c.SeedExpired("acme")
			begun := time.Now().Truncate(time.Second)
			c.Expect(world.Request{Tenant: "acme", ID: "acme"}, http.StatusUnauthorized)

			for command, got := range c.outcomes("acme") {
				if got == nil {
					t.Errorf("%s says nothing of the last refresh", command)
					continue
				}
				if got.At.Before(begun) || got.At.After(time.Now().Add(time.Second)) || got.Message == "" ||
					got.Status != test.want.Status || got.Error != test.want.Error || !strings.Contains(got.Description, test.want.Description) {
					t.Errorf("%s: %+v", command, *got)
				}
				if !strings.Contains(" "+strings.Join(test.outcome, " ")+" ", " "+got.Outcome+" ") {
					t.Errorf("%s: outcome %q, not one of %q", command, got.Outcome, test.outcome)
				}
			}
			if text := c.words(of("explain", "acme")...); !strings.Contains(text, test.says) {
				t.Errorf("explain does not say %q: %s", test.says, text)
			}
			c.doctorNames("provider api")
		})
	}
}

// A claim of another process that is waited for in vain is told of, too, by the waiting
// request's line in the log, and by the commands.
func TestClaimThatIsWaitedForIsTold(t *testing.T) {
	t.Parallel()
	c := newCLI(t, nil)
	c.SeedExpired("acme")
	other := c.Replica(world.Configuration{Quiet: true}, "other", t.TempDir())
	held := c.HoldRefresh("acme", world.NeverRotated)
	ignored := make(chan error, 1)
	go func() { ignored <- other.Ignore(world.Request{Tenant: "acme", ID: "at the other"}) }()
	c.Check(held.Await(c.Ctx))
	other.Suspend()

	if took, answer := c.Timed("acme", "waits"); answer != "401 refresh_failed" || took > world.LetGo {
		t.Errorf("answer %q after %v", answer, took)
	}
	c.Eventually(func() error {
		if !c.Logs("warn", "claim") {
			return errors.New("the log does not say what the request waited for")
		}
		return nil
	})
	for command, got := range c.outcomes("acme") {
		if got == nil || got.At.IsZero() || got.Outcome == "" || got.Outcome == "success" || !strings.Contains(got.Message, "claim") {
			t.Errorf("%s: %+v", command, got)
		}
	}
	if text := c.words(of("explain", "acme")...); !strings.Contains(text, "claim") {
		t.Errorf("explain does not speak of the claim: %s", text)
	}
	c.doctorNames("provider api")

	other.Resume()
	held.Open()
	c.Check(<-ignored)
	c.RecoversWithin(15*time.Second, "acme")
	c.Eventually(func() error { // what is over is no finding any more
		var d diagnosis
		if code := c.run(&d, "", "doctor"); code != 0 || !d.Healthy {
			return fmt.Errorf("doctor: exit status %d, %+v", code, d)
		}
		return nil
	})
}

// outcomes is what the commands say of the last refresh of a tenant.
func (c *cli) outcomes(tenant string) map[string]*lastOutcome {
	c.Helper()
	type teller struct {
		ID          string
		LastOutcome *lastOutcome `json:"last_outcome"`
	}
	outcomes := make(map[string]*lastOutcome)
	for _, command := range []string{"get", "explain"} {
		var answer teller
		if code := c.run(&answer, "", of(command, tenant)...); code != 0 {
			c.Errorf("%s: exit status %d", command, code)
		}
		outcomes[command] = answer.LastOutcome
	}
	var list struct{ Tenants []teller }
	if code := c.run(&list, "", "list", "--provider", "api"); code != 0 || len(list.Tenants) != 1 {
		c.Errorf("list: exit status %d, %+v", code, list)
	}
	for _, answer := range list.Tenants {
		outcomes["list"] = answer.LastOutcome
	}
	return outcomes
}

// doctorNames checks that the doctor has a finding about something, which says what
// to do.
func (c *cli) doctorNames(what string) {
	c.Helper()
	var d diagnosis
	if code := c.run(&d, "", "doctor"); code != 1 || d.Healthy {
		c.Errorf("doctor: exit status %d, healthy %t", code, d.Healthy)
	}
	for _, f := range d.Findings {
		if !f.OK && strings.Contains(f.Detail, what) && f.Remedy != "" {
			return
		}
	}
	c.Errorf("the doctor does not name %s: %+v", what, d)
}

// newEndpointThat starts a server of the test's and returns its URL.
func newEndpointThat(w *world.World, h http.Handler) string {
	w.Helper()
	e := w.NewEndpoint()
	e.Serve(h)
	return "http://" + e.Address
}
