package refresh

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A sidecar sleeps past all its deadlines, at every point of a refresh at which
// nobody can have an answer yet. Others go on without it. When it wakes up it
// presents nothing that it had claimed before.
func TestSuspendedSpenderIsTakenOver(t *testing.T) {
	t.Parallel()
	const takeover = 15 * time.Second
	f := world.NewFleet(t, world.Configuration{OAuth2: "takeover " + takeover.String()})
	const (
		onItsWay = "claim-on-its-way" // Vault does not have the claim yet
		claimed  = "claimed"          // Vault has it, the sidecar does not know
		asked    = "asked"            // the authorization server has the token, and never looks at it
	)
	tenants := []string{onItsWay, claimed, asked}
	for _, tenant := range tenants {
		f.SeedExpired(tenant)
	}
	claim, answer := holdWrite(f.World, onItsWay, "spending", false), holdWrite(f.World, claimed, "spending", true)
	token := f.HoldRefresh(asked, world.NeverRotated)
	gone := make(chan error, 10)
	begun := time.Now() // no claim is older
	for _, tenant := range tenants {
		go func() { gone <- f.A.Ignore(world.Request{Tenant: tenant, ID: tenant + " at the sleeper"}) }()
	}
	for _, g := range []*world.Gate{claim, answer, token} {
		f.Check(g.Await(f.Ctx))
	}
	f.A.Suspend()

	// No claim is in the way of the others, and the late one is one too many.
	r := world.Request{Tenant: onItsWay, ID: onItsWay + " at another", Body: world.RandomBytes(world.KiB)}
	f.Check(f.B.Delivered(r, f.B.Must(r)))
	claim.Open()
	answer.Open()
	waiting := []string{claimed, asked}
	for _, tenant := range waiting {
		f.Check(f.HasStatus(tenant, "spending"))
		for _, w := range []*world.World{f.B, f.C} { // each counts from when it first sees the claim
			go func() { gone <- w.Ignore(world.Request{Tenant: tenant, ID: tenant + " waits"}) }()
		}
	}
	for _, tenant := range waiting {
		f.B.RecoversWithin(takeover+5*time.Second, tenant)
		after := time.Since(begun)
		f.C.RecoversWithin(5*time.Second, tenant)
		t.Logf("%s: served after %v", tenant, after.Round(time.Millisecond))
		if after < takeover-time.Second { // Vault's clock tells whole seconds
			t.Errorf("%s: taken over after %v", tenant, after)
		}
	}
	for _, tenant := range tenants {
		f.Check(f.NewestStored(tenant))
	}

	f.A.Resume()
	token.Open()
	for range len(tenants) + 2*len(waiting) {
		f.Check(<-gone)
	}
	for _, tenant := range tenants {
		f.A.RecoversWithin(10*time.Second, tenant)
	}
	// Longer than it rests, and than it takes to look at what is not settled.
	remains(f.World, 3*time.Second, func() error {
		for _, tenant := range tenants {
			r := world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " in the end ", time.Now())}
			if err := f.A.Delivered(r, f.A.Must(r)); err != nil {
				return err
			}
			if err := f.NewestStored(tenant); err != nil {
				return err
			}
		}
		return nil
	})
	f.Asked(onItsWay, authserver.Rotated)
	f.Asked(claimed, authserver.Rotated)
	f.Asked(asked, authserver.Refused, authserver.Rotated)
	for _, tenant := range tenants {
		f.Check(f.HasStatus(tenant, "ready"))
	}
}

// The authorization server answers to a sidecar that sleeps past its deadline, and
// no takeover is due. The others neither take over nor keep their apps waiting. The
// sidecar finds the answers when it wakes up; none is lost.
func TestAnswersToASuspendedSpenderAreNotLost(t *testing.T) {
	t.Parallel()
	f := world.NewFleet(t, world.Configuration{})
	const committing = "committing" // the answer is in the sleeper's journal, the commit on its way
	var answered []string           // the answer is in the sleeper's socket
	for i := range 5 {
		answered = append(answered, fmt.Sprint("answered-", i))
	}
	all := append([]string{committing}, answered...)
	for _, tenant := range all {
		f.SeedExpired(tenant)
	}
	commit := holdWrite(f.World, committing, "ready", false)
	served := f.A.Deliver(world.Request{Tenant: committing, ID: committing})
	f.Check(commit.Await(f.Ctx))
	f.Check(<-served)
	var tokens []*world.Gate
	asleep := make(chan error, len(answered))
	for _, tenant := range answered {
		token := f.HoldRefresh(tenant, world.BeforeRotation)
		go func() { asleep <- f.A.Ignore(world.Request{Tenant: tenant, ID: tenant}) }()
		f.Check(token.Await(f.Ctx))
		tokens = append(tokens, token)
	}
	f.A.Suspend()
	suspended := time.Now()
	for _, token := range tokens {
		token.Open()
	}

	// The commit arrives while its sidecar sleeps.
	commit.Open()
	f.B.RecoversWithin(5*time.Second, committing)
	f.Asked(committing, authserver.Rotated)

	// Whoever waits gets the upstream's own answer in the end, and who comes later
	// at once.
	tenant := answered[0]
	first := refusedWithin(f, 16*time.Second, tenant)
	begun := time.Now()
	for range 20 {
		refusedWithin(f, time.Second, tenant)
	}
	t.Logf("while a claim is open, the first answer took %v, the 20 after it %v",
		first.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if slept := time.Since(suspended); slept < 12*time.Second {
		t.Errorf("the spender slept for %v, less than its deadline", slept)
	}
	for _, tenant := range answered {
		f.Asked(tenant, authserver.Rotated)
	}

	f.A.Resume()
	for range answered {
		f.Check(<-asleep) // one that waited for so long is told of a failure
	}
	for _, tenant := range all {
		for _, w := range f.Replicas() {
			w.RecoversWithin(10*time.Second, tenant)
		}
		f.Asked(tenant, authserver.Rotated)
		f.Check(f.HasStatus(tenant, "ready"))
	}
	f.Settled(all...)
}

// refusedWithin checks that a replica answers a tenant's request in time with the
// upstream's own 401, since there is no new token for now.
func refusedWithin(f *world.Fleet, limit time.Duration, tenant string) time.Duration {
	f.Helper()
	begun := time.Now()
	res := f.B.Expect(world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, " ", begun)}, http.StatusUnauthorized)
	took := time.Since(begun)
	if took > limit {
		f.Errorf("the answer took %v, not %v", took, limit)
	}
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.Content) != "attempt 1" {
		f.Errorf("code %q, answer %q", code, res.Content)
	}
	return took
}

// holdWrite holds back the next write of a tenant's document with a status, or the
// answer to it.
func holdWrite(w *world.World, tenant, status string, answered bool) *world.Gate {
	h := w.Tap.Hold(answered, func(r *http.Request, body []byte) bool {
		return r.Method != http.MethodGet && r.URL.Path == "/v1/"+world.PathOf(tenant) && bytes.Contains(body, []byte(`"status":"`+status+`"`))
	})
	w.Cleanup(h.Open)
	return h.Gate
}

// remains polls a condition that has to hold for a while.
func remains(w *world.World, d time.Duration, condition func() error) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.Check(condition())
		select {
		case <-time.After(50 * time.Millisecond):
		case <-w.Ctx.Done():
			w.Fatal(w.Ctx.Err())
		}
	}
}
