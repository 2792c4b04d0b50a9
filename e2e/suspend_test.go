package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// A sidecar sleeps past all its deadlines, at every point of a refresh at which
// nobody can have an answer yet. Others go on without it. When it wakes up it
// presents nothing that it had claimed before.
func TestSuspendedSpenderIsTakenOver(t *testing.T) {
	t.Parallel()
	const takeover = 15 * time.Second
	f := newFleet(t, configuration{oauth2: "takeover " + takeover.String()})
	const (
		onItsWay = "claim-on-its-way" // Vault does not have the claim yet
		claimed  = "claimed"          // Vault has it, the sidecar does not know
		asked    = "asked"            // the authorization server has the token, and never looks at it
	)
	tenants := []string{onItsWay, claimed, asked}
	for _, tenant := range tenants {
		f.seedExpired(tenant)
	}
	claim, answer := f.holdWrite(onItsWay, "spending", false), f.holdWrite(claimed, "spending", true)
	token := f.holdRefresh(asked, neverRotated)
	gone := make(chan error, 10)
	for _, tenant := range tenants {
		go func() { gone <- f.a.ignore(request{tenant: tenant, id: tenant + " at the sleeper"}) }()
	}
	for _, g := range []*gate{claim, answer, token} {
		f.check(g.await(f.ctx))
	}
	f.a.suspend()
	suspended := time.Now()

	// No claim is in the way of the others, and the late one is one too many.
	r := request{tenant: onItsWay, id: onItsWay + " at another", body: randomBytes(kib)}
	f.check(f.b.delivered(r, f.b.must(r)))
	claim.open()
	answer.open()
	waiting := []string{claimed, asked}
	for _, tenant := range waiting {
		f.check(f.hasStatus(tenant, "spending"))
		for _, w := range []*world{f.b, f.c} { // each counts from when it first sees the claim
			go func() { gone <- w.ignore(request{tenant: tenant, id: tenant + " waits"}) }()
		}
	}
	for _, tenant := range waiting {
		f.b.recoversWithin(takeover+5*time.Second, tenant)
		after := time.Since(suspended)
		f.c.recoversWithin(5*time.Second, tenant)
		t.Logf("%s: served %v after the suspension", tenant, after.Round(time.Millisecond))
		if after < takeover {
			t.Errorf("%s: taken over after %v", tenant, after)
		}
	}
	for _, tenant := range tenants {
		f.check(f.newestStored(tenant))
	}

	f.a.resume()
	token.open()
	for range len(tenants) + 2*len(waiting) {
		f.check(<-gone)
	}
	for _, tenant := range tenants {
		f.a.recoversWithin(10*time.Second, tenant)
	}
	// Longer than it rests, and than it takes to look at what is not settled.
	f.remains(3*time.Second, func() error {
		for _, tenant := range tenants {
			r := request{tenant: tenant, id: fmt.Sprint(tenant, " in the end ", time.Now())}
			if err := f.a.delivered(r, f.a.must(r)); err != nil {
				return err
			}
			if err := f.newestStored(tenant); err != nil {
				return err
			}
		}
		return nil
	})
	f.asked(onItsWay, authserver.Rotated)
	f.asked(claimed, authserver.Rotated)
	f.asked(asked, authserver.Refused, authserver.Rotated)
	for _, tenant := range tenants {
		f.check(f.hasStatus(tenant, "ready"))
	}
}

// The authorization server answers to a sidecar that sleeps past its deadline, and
// no takeover is due. The others neither take over nor keep their apps waiting. The
// sidecar finds the answer when it wakes up; nothing is lost.
func TestAnswerToASuspendedSpenderIsNotLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{})
	const (
		answered   = "answered"   // the answer is in the sleeper's socket
		committing = "committing" // the answer is in its journal, the commit on its way
	)
	f.seedExpired(answered)
	f.seedExpired(committing)
	token := f.holdRefresh(answered, beforeRotation)
	commit := f.holdWrite(committing, "ready", false)
	served := f.a.deliver(request{tenant: committing, id: committing})
	f.check(commit.await(f.ctx))
	f.check(<-served)
	woken := f.a.deliver(request{tenant: answered, id: answered})
	f.check(token.await(f.ctx))
	f.a.suspend()
	suspended := time.Now()
	token.open()

	// The commit arrives while its sidecar sleeps.
	commit.open()
	f.b.recoversWithin(5*time.Second, committing)
	f.asked(committing, authserver.Rotated)

	// Whoever waits gets the upstream's own answer in the end, and who comes later
	// at once.
	bounded := func(w *world, limit time.Duration) {
		t.Helper()
		begun := time.Now()
		res := w.expect(request{tenant: answered, id: fmt.Sprint(answered, " ", begun)}, http.StatusUnauthorized)
		if took := time.Since(begun); took > limit {
			t.Errorf("the answer took %v, not %v", took, limit)
		}
		if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.body) != "attempt 1" {
			t.Errorf("code %q, answer %q", code, res.body)
		}
	}
	first := time.Now()
	bounded(f.b, 16*time.Second)
	t.Logf("the first answer while a claim is open took %v", time.Since(first).Round(time.Millisecond))
	begun := time.Now()
	for range 20 {
		bounded(f.b, time.Second)
	}
	t.Logf("20 later ones took %v", time.Since(begun).Round(time.Millisecond))
	f.asked(answered, authserver.Rotated)
	if slept := time.Since(suspended); slept < 12*time.Second {
		t.Errorf("the spender slept for %v, less than its deadline", slept)
	}

	f.a.resume()
	if err := <-woken; err != nil {
		t.Logf("the request that slept, too: %v", err) // its client may have been told of a failure
	}
	for _, w := range f.replicas() {
		w.recoversWithin(10*time.Second, answered)
		w.recoversWithin(10*time.Second, committing)
	}
	f.settled(answered, committing)
	f.asked(answered, authserver.Rotated)
	f.asked(committing, authserver.Rotated)
	f.check(f.hasStatus(answered, "ready"))
}

// ignore sends a request that may be answered in any way.
func (w *world) ignore(r request) error {
	_, err := w.send(w.ctx, r)
	return err
}

// holdWrite holds back the next write of a tenant's document with a status, or the
// answer to it.
func (w *world) holdWrite(tenant, status string, answered bool) *gate {
	h := w.tap.hold(answered, func(r *http.Request, body []byte) bool {
		return r.Method != http.MethodGet && r.URL.Path == "/v1/"+pathOf(tenant) && bytes.Contains(body, []byte(`"status":"`+status+`"`))
	})
	w.Cleanup(h.open)
	return h.gate
}

// remains polls a condition that has to hold for a while.
func (w *world) remains(d time.Duration, condition func() error) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.check(condition())
		select {
		case <-time.After(50 * time.Millisecond):
		case <-w.ctx.Done():
			w.Fatal(w.ctx.Err())
		}
	}
}
