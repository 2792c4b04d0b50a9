package refresh

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// A claim of a process that is gone for good is taken over though the store does not
// answer one read in ten: no failed read begins the wait anew.
func TestTakeoverComesThoughReadsFailNowAndThen(t *testing.T) {
	t.Parallel()
	const takeover, limit = 15 * time.Second, 30 * time.Second
	w := world.New(t)
	c := world.Configuration{Quiet: true, OAuth2: "takeover " + takeover.String()}
	victim := w.Replica(c, "victim", t.TempDir())
	heirs := make(map[string]*world.World)
	for tenant, fault := range map[string]world.VaultFault{
		"answered-500":   {Status: http.StatusInternalServerError},
		"half-an-answer": {Cut: true},
	} {
		heir := w.OwnTap().Replica(c, "heir-of-"+tenant, t.TempDir())
		var reads atomic.Int64
		heir.Tap.Disturbing(func(r *http.Request, _ []byte) world.VaultFault {
			if world.ReadsOf(r, tenant) && reads.Add(1)%10 == 0 {
				return fault
			}
			return world.VaultFault{}
		})
		heirs[tenant] = heir
		w.SeedExpired(tenant)
	}
	begun := time.Now()
	var gates []*world.Gate
	lost := make(map[string]<-chan error)
	for tenant := range heirs {
		g := w.HoldRefresh(tenant, world.NeverRotated)
		lost[tenant] = lose(victim, world.Request{Tenant: tenant, ID: tenant + " at the dead"})
		w.Check(g.Await(w.Ctx))
		gates = append(gates, g)
	}
	victim.Kill()
	killed := time.Now()
	for _, g := range gates {
		g.Open()
	}
	for _, err := range lost {
		w.Check(<-err)
	}

	type end struct {
		tenant string
		at     time.Time
		served bool
	}
	ends := make(chan end, len(heirs))
	for tenant, heir := range heirs {
		go func() {
			took := servedAfter(heir, []string{tenant}, "after the crash", limit)[tenant]
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
		w.Eventually(func() error { return w.NewestStored(e.tenant) })
		w.Asked(e.tenant, authserver.Refused, authserver.Rotated)
		w.Eventually(func() error { return w.HasStatus(e.tenant, "ready") })
	}
	if t.Failed() {
		for tenant := range heirs {
			t.Log(tenant, fmt.Sprint(w.Record(tenant)))
		}
	}
}
