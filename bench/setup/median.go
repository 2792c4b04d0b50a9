package setup

import (
	"slices"
	"time"
)

// Median is the middle one of some times, which it leaves as they are.
func Median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}
