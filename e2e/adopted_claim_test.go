package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// With `takeover never` a claim that is found in the journal of a dead process is judged
// by the document as it is then, and not by one that was read before: a read that took
// as long as another's claim, request and death does not make its token be sent again.
func TestAdoptedClaimIsJudgedByTheDocumentAsItIs(t *testing.T) {
	t.Parallel()
	// Dead processes are looked for every 3 s, and a refresh gives a read up after 5 s.
	const tenant, readTime = "acme", 4500 * time.Millisecond
	w := newWorld(t)
	c := configuration{quiet: true, store: "cache_ttl 1h\ntimeout 20s", oauth2: "takeover never"}
	journal := t.TempDir()
	a, b := w.replica(c, "a", journal), w.ownTap().replica(c, "b", journal)
	w.seed(tenant)
	b.expect(request{tenant: tenant, id: "while its token is good"}, http.StatusOK)
	w.check(w.auth.Expire(tenant))

	// One is about to claim when the other reads.
	claim, rotated := w.holdWrite(tenant, "spending", false), w.holdRefresh(tenant, afterRotation)
	lost := a.lose(request{tenant: tenant, id: "at the dead"})
	w.check(claim.await(w.ctx))
	stale := b.tap.hold(true, func(r *http.Request, _ []byte) bool { return readsOf(r, tenant) })
	w.Cleanup(stale.open)
	answered := make(chan error, 1)
	go func() { answered <- b.ignore(request{tenant: tenant, id: "at the reader"}) }()
	w.check(stale.await(w.ctx)) // Vault has answered; the answer is on its way for a while
	time.AfterFunc(readTime, stale.open)
	claim.open()
	w.check(rotated.await(w.ctx))
	a.kill()
	rotated.open()
	w.check(<-lost)
	w.check(<-answered)

	// The answer is lost with the dead, and the tenant waits for a person.
	b.soon(10*time.Second, func() error { return b.reauthorization(tenant) })
	a.restart()
	w.remains(4*time.Second, func() error {
		if entries := w.auth.Of(tenant); len(entries) != 1 {
			return fmt.Errorf("token requests %+v", entries)
		}
		return nil
	})
	w.asked(tenant, authserver.Lost)
}
