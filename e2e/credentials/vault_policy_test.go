package credentials

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// readOnly is the README's policy without leave to write.
const readOnly = `path "secret/data/upstream-auth/*" { capabilities = ["read"] }`

// A policy of Vault's that forbids the claim is no outage: requests are answered at once
// with the upstream's own 401, and the log says what is wrong, once, and speaks of no
// claim that was never made.
func TestPolicyThatForbidsWriting(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*world.World){
		"from the start": func(*world.World) {},
		"later on": func(w *world.World) { // the journals' key is there
			w.Check(w.Vault.Allow(w.Ctx, world.Policy))
			w.SeedExpired("first")
			r := world.Request{Tenant: "first", ID: "first"}
			w.Check(w.Delivered(r, w.Must(r)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			forbid := func() { w.Check(w.Vault.Root.Sys().PutPolicyWithContext(w.Ctx, world.Policy, readOnly)) }
			forbid()
			w.Start(world.Configuration{})
			before(w)
			forbid()
			w.SeedExpired("acme")
			begun := len(w.Caddy.Output())

			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					if took, answer := w.Timed("acme", fmt.Sprint("at once ", i)); answer != "401 refresh_failed" || took > 3*time.Second {
						t.Errorf("answer %q after %v", answer, took)
					}
				})
			}
			all.Wait()
			w.Asked("acme")
			record, err := w.Record("acme")
			if err != nil || len(record) > 0 {
				t.Errorf("record %v, %v", record, err)
			}
			told := 0
			for line := range bytes.Lines(w.Caddy.Output()[begun:]) {
				if !bytes.Contains(line, []byte(`"logger":"upstream_auth`)) || bytes.Contains(line, []byte(`"level":"debug"`)) {
					continue
				}
				if bytes.Contains(line, []byte("policy")) {
					told++
				}
			}
			if told != 1 {
				t.Errorf("the log says %d times that the policy forbids it", told)
			}

			// It is no outage either when the policy is mended.
			w.Check(w.Vault.Allow(w.Ctx, world.Policy))
			w.RecoversWithin(10*time.Second, "acme")
			w.Settled("acme")
			if w.Logs("warn", "a claim stays") {
				t.Error("the log speaks of a claim that was never made")
			}
		})
	}
}

// Who lists tenants without leave to is told that the policy forbids it, and not that
// the store does not answer.
func TestPolicyThatForbidsListing(t *testing.T) {
	t.Parallel()
	c := newCLI(t, func(w *world.World) { w.Check(w.Vault.Allow(w.Ctx, world.Policy)) })
	c.Seed("acme")
	var answer struct{ Code, Message string }
	if code := c.run(&answer, "", "list", "--provider", "api"); code != 1 {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(answer.Message, "policy") || strings.Contains(answer.Message, "does not answer") {
		t.Errorf("list: %+v", answer)
	}
	// What it may do works.
	if got := c.tenant("get", "acme"); got.Status != "ready" {
		t.Errorf("get: %+v", got)
	}
	c.Expect(world.Request{Tenant: "acme", ID: "acme"}, http.StatusOK)
}
