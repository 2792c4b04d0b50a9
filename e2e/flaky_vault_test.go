package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// A claim of a process that is gone for good is taken over though the store does not
// answer one read in ten: no failed read begins the wait anew.
func TestTakeoverComesThoughReadsFailNowAndThen(t *testing.T) {
	t.Parallel()
	const takeover, limit = 15 * time.Second, 30 * time.Second
	w := newWorld(t)
	c := configuration{quiet: true, oauth2: "takeover " + takeover.String()}
	victim := w.replica(c, "victim", t.TempDir())
	heirs := make(map[string]*world)
	for tenant, fault := range map[string]vaultFault{
		"answered-500":   {status: http.StatusInternalServerError},
		"half-an-answer": {cut: true},
	} {
		heir := w.ownTap().replica(c, "heir-of-"+tenant, t.TempDir())
		var reads atomic.Int64
		heir.tap.disturbing(func(r *http.Request, _ []byte) vaultFault {
			if readsOf(r, tenant) && reads.Add(1)%10 == 0 {
				return fault
			}
			return vaultFault{}
		})
		heirs[tenant] = heir
		w.seedExpired(tenant)
	}
	begun := time.Now()
	var gates []*gate
	lost := make(map[string]<-chan error)
	for tenant := range heirs {
		g := w.holdRefresh(tenant, neverRotated)
		lost[tenant] = victim.lose(request{tenant: tenant, id: tenant + " at the dead"})
		w.check(g.await(w.ctx))
		gates = append(gates, g)
	}
	victim.kill()
	killed := time.Now()
	for _, g := range gates {
		g.open()
	}
	for _, err := range lost {
		w.check(<-err)
	}

	type end struct {
		tenant string
		at     time.Time
		served bool
	}
	ends := make(chan end, len(heirs))
	for tenant, heir := range heirs {
		go func() {
			took := heir.servedAfter([]string{tenant}, "after the crash", limit)[tenant]
			ends <- end{tenant, time.Now(), took < limit}
		}()
	}
	for range heirs {
		e := <-ends
		if !e.served {
			t.Errorf("%s: not served within %v", e.tenant, limit)
			continue
		}
		// By Vault's clock, which tells whole seconds.
		if after := e.at.Sub(begun); after < takeover-2*time.Second {
			t.Errorf("%s: taken over %v after the first claim began", e.tenant, after)
		}
		t.Logf("%s: served %v after the crash", e.tenant, e.at.Sub(killed).Round(time.Millisecond))
		w.eventually(func() error { return w.newestStored(e.tenant) })
		w.asked(e.tenant, authserver.Refused, authserver.Rotated)
		w.eventually(func() error { return w.hasStatus(e.tenant, "ready") })
	}
	if t.Failed() {
		for tenant := range heirs {
			t.Log(tenant, fmt.Sprint(w.record(tenant)))
		}
	}
}
