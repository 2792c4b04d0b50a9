package renew_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// maxSending is how many token requests wait for the answers of one host at most.
const maxSending = 64

// hanging answers the tokens of a kind after d, and all others at once.
func hanging(kind string, d time.Duration) answerer {
	return func(form url.Values) *tokenrequest.Response {
		if strings.HasPrefix(form.Get("refresh_token"), "canary-"+kind) {
			time.Sleep(d)
		}
		return status(200, granted)
	}
}

// All tenants come at once before anybody can know that the endpoint hangs. Who stands in
// line has claimed nothing.
func TestHangingEndpointIsAskedForFewTenants(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(hanging("bad", 5*time.Minute))
		p := f.start(nil)
		all := f.crowd(p, "bad", 500)
		var first sync.WaitGroup
		first.Go(func() { all.storm(time.Millisecond) })
		time.Sleep(14 * time.Second)
		f.wantAsked(maxSending)
		claimed := 0
		for name := range all.rejected {
			doc, err := f.store.Get(t.Context(), credential.Key{Provider: key.Provider, Tenant: name})
			if err != nil {
				t.Fatal(err)
			}
			if recordIn(doc.Data)["status"] == "spending" {
				claimed++
			}
		}
		if claimed != maxSending {
			t.Errorf("%d are claimed, %d tokens were sent", claimed, maxSending)
		}
		first.Wait()
		all.storm(time.Minute)
		if n := f.asked.Load(); n > maxSending+20 { // one that tries every 2 s, until it is known that none of them is answered
			t.Errorf("%d token requests", n)
		}
	})
}

// An endpoint that is slow serves all: those that have waited for too long come again.
func TestSlowEndpointServesAllTenantsInTheEnd(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(hanging("slow", 14*time.Second))
		p := f.start(nil)
		start := time.Now()
		f.crowd(p, "slow", 500).storm(time.Hour)
		if took := time.Since(start); took > 4*time.Minute {
			t.Errorf("the last was served after %v", took)
		}
		f.wantAsked(500)
		if n := f.most.Load(); n > maxSending {
			t.Errorf("%d at once", n)
		}
	})
}

// Tokens that hang alone keep their places for no longer than requests wait.
func TestTenantsThatHangDelayOthersForTwoMinutesAtMost(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(hanging("bad", 9*time.Minute))
		p := f.start(nil)
		bad := f.crowd(p, "bad", 3*maxSending)
		var all sync.WaitGroup
		all.Go(func() { bad.storm(5 * time.Minute) })
		time.Sleep(time.Second)
		start := time.Now()
		f.crowd(p, "good", 20).storm(time.Hour)
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("the others were served after %v", took)
		}
		start = time.Now()
		f.crowd(p, "later", 20).storm(time.Hour)
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("those that came later were served after %v", took)
		}
		all.Wait()
	})
}
