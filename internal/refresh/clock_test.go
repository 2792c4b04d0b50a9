package refresh

import (
	"testing"
	"time"
	"unsafe"
)

// wallEarlier returns at with its wall clock d earlier and its monotonic clock as
// it is: what is seen of at when the machine slept for d in between, on a system
// whose monotonic clock sleeps with it.
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

func TestADeadlineLooksAtBothClocks(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		start  time.Time
		passed bool
	}{
		"just begun":                       {now, false},
		"almost over":                      {now.Add(-spendDeadline + time.Minute/20), false},
		"over":                             {now.Add(-spendDeadline), true},
		"the machine slept":                {wallEarlier(t, now, spendDeadline), true},
		"the machine slept for a while":    {wallEarlier(t, now, spendDeadline/2), false},
		"over, and the clock was set back": {wallEarlier(t, now.Add(-spendDeadline), -time.Hour), true},
		"the clock was set back":           {wallEarlier(t, now, -time.Hour), false},
		"no monotonic clock, over":         {now.Add(-spendDeadline).Round(0), true},
		"no monotonic clock, not over":     {now.Round(0), false},
	} {
		d := deadline{start: test.start, after: spendDeadline}
		if left := d.left(); d.passed() != test.passed || left > spendDeadline {
			t.Errorf("%s: passed %v, left %v", name, d.passed(), left)
		}
	}
}

func TestTheGateKnowsWhatMayHaveLeft(t *testing.T) {
	late := deadline{start: time.Now().Add(-time.Hour), after: time.Minute}
	for name, test := range map[string]struct {
		do   func(g *gate)
		pass bool
		sent bool
	}{
		"a handshake":                  {func(*gate) {}, true, false},
		"many writes of a handshake":   {func(g *gate) { g.pass(); g.pass() }, true, false},
		"the request":                  {func(g *gate) { g.arm(inTime()) }, true, true},
		"the request, too late":        {func(g *gate) { g.arm(late) }, false, false},
		"its second write":             {func(g *gate) { g.arm(inTime()); g.pass() }, true, true},
		"its second write, late":       {func(g *gate) { g.arm(inTime()); g.pass(); g.deadline = late }, true, true},
		"after a first that failed":    {func(g *gate) { g.arm(inTime()); g.pass(); g.failed() }, false, false},
		"closed":                       {func(g *gate) { g.close() }, false, false},
		"closed, and then armed":       {func(g *gate) { g.close(); g.arm(inTime()) }, false, false},
		"closed after the request":     {func(g *gate) { g.arm(inTime()); g.pass(); g.close() }, false, true},
		"too late, and tried again":    {func(g *gate) { g.arm(late); g.pass(); g.deadline = inTime() }, false, false},
		"a handshake after a deadline": {func(g *gate) { g.deadline = late }, true, false},
	} {
		g := new(gate)
		test.do(g)
		if pass := g.pass(); pass != test.pass {
			t.Errorf("%s: passes %v", name, pass)
		}
		if sent := g.close(); sent != test.sent {
			t.Errorf("%s: sent %v", name, sent)
		}
	}
}
