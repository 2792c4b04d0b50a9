package upstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
)

// However many unknown tenants are named, a tenant whose credential is cached is served, and
// its credential read anew when it is due.
func TestUnknownTenantsWaitForEachOtherAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Budget = new(budget.Usage).Provider("crm", budget.Limits{Lookups: []*budget.Line{budget.NewLine(1)}})
		o.putDocument(`{"access_token":"old"}`)
		o.expect("old", false, "")
		o.store.Fault = func(_ string, key credential.Key) error {
			if key.Tenant != acme {
				time.Sleep(time.Second)
			}
			return nil
		}
		failures := make(chan error, 10)
		for _, tenant := range []credential.Tenant{"one", "two", "three", "four"} {
			go func() {
				_, err := o.Open(t.Context(), o.provider, tenant)
				failures <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		o.expect("old", false, "")
		if time.Since(start) != 0 {
			t.Error("acme waits for unknown tenants")
		}
		unknown, refused := 0, 0
		for range 4 {
			switch err := <-failures; {
			case errors.Is(err, credential.ErrNotFound):
				unknown++
			case errors.As(err, new(*budget.Error)):
				refused++
			default:
				t.Error(err)
			}
		}
		if unknown < 2 || refused < 1 || time.Since(start) > 4*time.Second {
			t.Errorf("%d are unknown and %d refused after %v", unknown, refused, time.Since(start))
		}
		time.Sleep(70 * time.Second) // acme is cached, and due
		for _, tenant := range []credential.Tenant{"five", "six", "seven"} {
			go func() {
				_, err := o.Open(t.Context(), o.provider, tenant)
				failures <- err
			}()
		}
		synctest.Wait()
		start = time.Now()
		o.expect("old", false, "")
		if time.Since(start) != 0 {
			t.Error("acme's credential is not read while unknown tenants wait")
		}
		for range 3 {
			<-failures
		}
	})
}
