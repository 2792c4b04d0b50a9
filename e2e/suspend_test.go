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
	begun := time.Now() // no claim is older
	for _, tenant := range tenants {
		go func() { gone <- f.a.ignore(request{tenant: tenant, id: tenant + " at the sleeper"}) }()
	}
	for _, g := range []*gate{claim, answer, token} {
		f.check(g.await(f.ctx))
	}
	f.a.suspend()

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
		after := time.Since(begun)
		f.c.recoversWithin(5*time.Second, tenant)
		t.Logf("%s: served after %v", tenant, after.Round(time.Millisecond))
		if after < takeover-time.Second { // Vault's clock tells whole seconds
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
// sidecar finds the answers when it wakes up; none is lost.
func TestAnswersToASuspendedSpenderAreNotLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, configuration{})
	const committing = "committing" // the answer is in the sleeper's journal, the commit on its way
	var answered []string           // the answer is in the sleeper's socket
	for i := range 5 {
		answered = append(answered, fmt.Sprint("answered-", i))
	}
	all := append([]string{committing}, answered...)
	for _, tenant := range all {
		f.seedExpired(tenant)
	}
	commit := f.holdWrite(committing, "ready", false)
	served := f.a.deliver(request{tenant: committing, id: committing})
	f.check(commit.await(f.ctx))
	f.check(<-served)
	var tokens []*gate
	asleep := make(chan error, len(answered))
	for _, tenant := range answered {
		token := f.holdRefresh(tenant, beforeRotation)
		go func() { asleep <- f.a.ignore(request{tenant: tenant, id: tenant}) }()
		f.check(token.await(f.ctx))
		tokens = append(tokens, token)
	}
	f.a.suspend()
	suspended := time.Now()
	for _, token := range tokens {
		token.open()
	}

	// The commit arrives while its sidecar sleeps.
	commit.open()
	f.b.recoversWithin(5*time.Second, committing)
	f.asked(committing, authserver.Rotated)

	// Whoever waits gets the upstream's own answer in the end, and who comes later
	// at once.
	tenant := answered[0]
	first := f.refusedWithin(16*time.Second, tenant)
	begun := time.Now()
	for range 20 {
		f.refusedWithin(time.Second, tenant)
	}
	t.Logf("while a claim is open, the first answer took %v, the 20 after it %v",
		first.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if slept := time.Since(suspended); slept < 12*time.Second {
		t.Errorf("the spender slept for %v, less than its deadline", slept)
	}
	for _, tenant := range answered {
		f.asked(tenant, authserver.Rotated)
	}

	f.a.resume()
	for range answered {
		f.check(<-asleep) // one that waited for so long is told of a failure
	}
	for _, tenant := range all {
		for _, w := range f.replicas() {
			w.recoversWithin(10*time.Second, tenant)
		}
		f.asked(tenant, authserver.Rotated)
		f.check(f.hasStatus(tenant, "ready"))
	}
	f.settled(all...)
}

// refusedWithin checks that a replica answers a tenant's request in time with the
// upstream's own 401, since there is no new token for now.
func (f *fleet) refusedWithin(limit time.Duration, tenant string) time.Duration {
	f.Helper()
	begun := time.Now()
	res := f.b.expect(request{tenant: tenant, id: fmt.Sprint(tenant, " ", begun)}, http.StatusUnauthorized)
	took := time.Since(begun)
	if took > limit {
		f.Errorf("the answer took %v, not %v", took, limit)
	}
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.body) != "attempt 1" {
		f.Errorf("code %q, answer %q", code, res.body)
	}
	return took
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
