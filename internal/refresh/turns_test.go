package refresh

import (
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestCoordinatorsOfOnePlaceTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.turns = new(Turns)
		other := New(credential.NewCache(f.store, credential.CacheOptions{}), Options{
			Transport: f.endpoint.transport,
			Turns:     f.turns,
		})
		f.answers(func(form url.Values) (int, string) { time.Sleep(time.Second); return rotate(form) })
		cred := f.put(expiring(1, time.Hour))

		done := make(chan struct{})
		go func() {
			defer close(done)
			fresh, err := f.refresh(cred)
			wantToken(t, fresh, err, "canary-a2")
		}()
		synctest.Wait() // the token is being spent
		fresh, err := other.Refresh(t.Context(), f.provider, tenant, cred)
		wantToken(t, fresh, err, "canary-a2")
		<-done
		f.wantAsked(1)
		if n := len(f.turns.taken); n != 0 {
			t.Errorf("%d turns were not given back", n)
		}
	})
}
