package refresh

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// With `takeover never` a claim that is found in the journal of a dead process is judged
// by the document as it is then, and not by one that was read before: a read that took
// as long as another's claim, request and death does not make its token be sent again.
func TestAdoptedClaimIsJudgedByTheDocumentAsItIs(t *testing.T) {
	t.Parallel()
	// Dead processes are looked for every 3 s, and a refresh gives a read up after 5 s.
	const tenant, readTime = "acme", 4500 * time.Millisecond
	w := world.New(t)
	c := world.Configuration{Quiet: true, Store: "cache_ttl 1h\ntimeout 20s", OAuth2: "takeover never"}
	journal := t.TempDir()
	a, b := w.Replica(c, "a", journal), w.OwnTap().Replica(c, "b", journal)
	w.Seed(tenant)
	b.Expect(world.Request{Tenant: tenant, ID: "while its token is good"}, http.StatusOK)
	w.Check(w.Auth.Expire(tenant))

	// One is about to claim when the other reads.
	claim, rotated := holdWrite(w, tenant, "spending", false), w.HoldRefresh(tenant, world.AfterRotation)
	lost := lose(a, world.Request{Tenant: tenant, ID: "at the dead"})
	w.Check(claim.Await(w.Ctx))
	stale := b.Tap.Hold(true, func(r *http.Request, _ []byte) bool { return world.ReadsOf(r, tenant) })
	w.Cleanup(stale.Open)
	answered := make(chan error, 1)
	go func() { answered <- b.Ignore(world.Request{Tenant: tenant, ID: "at the reader"}) }()
	w.Check(stale.Await(w.Ctx)) // Vault has answered; the answer is on its way for a while
	time.AfterFunc(readTime, stale.Open)
	claim.Open()
	w.Check(rotated.Await(w.Ctx))
	a.Kill()
	rotated.Open()
	w.Check(<-lost)
	w.Check(<-answered)

	// The answer is lost with the dead, and the tenant waits for a person.
	b.Soon(10*time.Second, func() error { return reauthorization(b, tenant) })
	a.Restart()
	remains(w, 4*time.Second, func() error {
		if entries := w.Auth.Of(tenant); len(entries) != 1 {
			return fmt.Errorf("token requests %+v", entries)
		}
		return nil
	})
	w.Asked(tenant, authserver.Lost)
}
