package tokenrequest_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// wallEarlier returns at with its wall clock d earlier and its monotonic clock as it
// is: what is seen of at when the machine slept for d in between, on a system whose
// monotonic clock sleeps with it.
func wallEarlier(t testing.TB, at time.Time, d time.Duration) time.Time {
	t.Helper()
	const hasMonotonic, nanosecondBits = 1 << 63, 30
	clocks := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&at)) // the beginning of a time.Time
	if clocks.wall&hasMonotonic == 0 || d%time.Second != 0 {
		t.Fatal("no monotonic clock, or no whole seconds")
	}
	before, now := at.Round(0), time.Now()
	monotonic := now.Sub(at)
	clocks.wall -= uint64(d/time.Second) << nanosecondBits
	if now.Sub(at) != monotonic || before.Sub(at.Round(0)) != d {
		t.Fatal("a time.Time is made otherwise")
	}
	return at
}

func TestLimitsLookAtBothClocks(t *testing.T) {
	const send = time.Minute
	now := time.Now()
	for name, test := range map[string]struct {
		start time.Time
		want  bool
	}{
		"just begun":                       {now, true},
		"almost over":                      {now.Add(-send + 3*time.Second), true},
		"over":                             {now.Add(-send), false},
		"the machine slept":                {wallEarlier(t, now, send), false},
		"the machine slept for a while":    {wallEarlier(t, now, send/2), true},
		"over, and the clock was set back": {wallEarlier(t, now.Add(-send), -time.Hour), false},
		"the clock was set back":           {wallEarlier(t, now, -time.Hour), true},
		"no monotonic clock, over":         {now.Add(-send).Round(0), false},
		"no monotonic clock, not over":     {now.Round(0), true},
	} {
		if got := (tokenrequest.Limits{Start: test.start, Send: send, Listen: time.Hour}).MaySend(); got != test.want {
			t.Errorf("%s: may send: %t", name, got)
		}
		if (tokenrequest.Limits{Start: test.start, Send: send}).MaySend() {
			t.Errorf("%s: may send what nobody listens to", name)
		}
	}
}
