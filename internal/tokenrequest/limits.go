package tokenrequest

import "time"

// Limits are the two deadlines of a token request. A process that was stopped, or a
// machine that slept, does not miss them: they are looked at by the monotonic and by
// the wall clock, and whichever ran further counts.
type Limits struct {
	Start  time.Time     // when the claim on the token began
	Send   time.Duration // after Start: the first byte leaves no later
	Listen time.Duration // after Start: the answer is waited for no longer
}

// MaySend reports whether the first byte may still leave. It may not where nobody
// would wait for the answer any more.
func (l Limits) MaySend() bool { return l.left(min(l.Send, l.Listen)) > 0 }

// left is what is left of a time after Start; negative if it has passed.
func (l Limits) left(after time.Duration) time.Duration {
	now := time.Now()
	elapsed := max(now.Sub(l.Start), now.Round(0).Sub(l.Start.Round(0)))
	return after - elapsed
}
