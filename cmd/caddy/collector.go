package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// smallHeap is how far the heap may grow, in bytes, before it is collected. A sidecar
// keeps little and makes a lot of garbage: with Go's own setting, twice what is kept, it
// would be collecting all the time. A larger heap than half of this is collected as ever.
// Caddy sets the memory limit by the container's, and the limit goes before all this.
const smallHeap = 64 << 20

// tuneCollector lets the heap grow to smallHeap, unless the environment variable GOGC says
// how the collector works. It looks again after each collection.
func tuneCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(smallHeap / heapMinimum * 100)
	afterCollection(func() { debug.SetGCPercent(collectAt(liveHeap())) })
}

// heapMinimum is below what the runtime does not collect with a percentage of 100.
const heapMinimum = 4 << 20

// collectAt returns the percentage by which the heap may grow beyond what is live.
func collectAt(live uint64) int {
	if live == 0 || live >= smallHeap/2 {
		return 100
	}
	return int((smallHeap - live) * 100 / live) //nolint:gosec // live is small, and not zero
}

// afterCollection calls f after each collection, on the goroutine of cleanups.
func afterCollection(f func()) {
	runtime.AddCleanup(new([16]byte), func(struct{}) {
		f()
		afterCollection(f)
	}, struct{}{})
}

// liveHeap is what the last collection has found to be in use, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
