package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// readOnly is the README's policy without leave to write.
const readOnly = `path "secret/data/upstream-auth/*" { capabilities = ["read"] }`

// A policy of Vault's that forbids the claim is no outage: requests are answered at once
// with the upstream's own 401, and the log says what is wrong, once, and speaks of no
// claim that was never made.
func TestPolicyThatForbidsWriting(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*world){
		"from the start": func(*world) {},
		"later on": func(w *world) { // the journals' key is there
			w.check(w.vault.allow(w.ctx, policy))
			w.seedExpired("first")
			r := request{tenant: "first", id: "first"}
			w.check(w.delivered(r, w.must(r)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			forbid := func() { w.check(w.vault.root.Sys().PutPolicyWithContext(w.ctx, policy, readOnly)) }
			forbid()
			w.start(configuration{})
			before(w)
			forbid()
			w.seedExpired("acme")
			begun := len(w.caddy.Output())

			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					if took, answer := w.timed("acme", fmt.Sprint("at once ", i)); answer != "401 refresh_failed" || took > 3*time.Second {
						t.Errorf("answer %q after %v", answer, took)
					}
				})
			}
			all.Wait()
			w.asked("acme")
			record, err := w.record("acme")
			if err != nil || len(record) > 0 {
				t.Errorf("record %v, %v", record, err)
			}
			told := 0
			for line := range bytes.Lines(w.caddy.Output()[begun:]) {
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
			w.check(w.vault.allow(w.ctx, policy))
			w.recoversWithin(10*time.Second, "acme")
			w.settled("acme")
			if w.logs("warn", "a claim stays") {
				t.Error("the log speaks of a claim that was never made")
			}
		})
	}
}

// Who lists tenants without leave to is told that the policy forbids it, and not that
// the store does not answer.
func TestPolicyThatForbidsListing(t *testing.T) {
	t.Parallel()
	c := newCLI(t, func(w *world) { w.check(w.vault.allow(w.ctx, policy)) })
	c.seed("acme")
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
	c.expect(request{tenant: "acme", id: "acme"}, http.StatusOK)
}
