package refresh

import (
	"testing"
	"time"
)

// A claim made over a silent one, whose write is late, is released to ready. That
// the token may have been sent is still counted when it is sent again.
func TestALateClaimOverASilentOneDoesNotHideThatTheTokenWasSent(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		r := f.replica(nil)
		rejected := f.stored()
		f.answers(always(500, ""))
		_, err := r.refresh(rejected)
		wantError(t, nil, err, ErrFailed)
		r.settled()
		time.Sleep(2 * time.Second)
		r.store.puts(first(1000, func(put func() (uint64, error)) (uint64, error) {
			time.AfterFunc(8*time.Second, func() { put() })
			return 0, errLost
		}))
		_, err = r.refresh(rejected) // gives up after 5 s to 6.25 s, and the write comes after 8
		wantError(t, nil, err, ErrFailed)
		time.Sleep(4 * time.Second)
		r.store.puts(nil)
		time.Sleep(time.Minute)
		r.settled()
		t.Logf("the record is %+v", f.recorded())
		f.answers(rotate)
		fresh, err := f.replica(nil).refresh(rejected)
		if err != nil {
			fresh, err = r.refresh(rejected)
		}
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(2)
		f.wantLog(loggedAgain)
	})
}
