package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestHeapIsCollectedWhenItIsLarge(t *testing.T) {
	for name, test := range map[string]struct {
		live   uint64
		growTo uint64
	}{
		"next to nothing": {1 << 20, smallHeap},
		"small":           {10 << 20, smallHeap},
		"half":            {smallHeap / 2, smallHeap},
		"large":           {200 << 20, 400 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.live + test.live*uint64(collectAt(test.live))/100
			if got > test.growTo || got < test.growTo*98/100 {
				t.Errorf("grows to %d MiB, want %d", got>>20, test.growTo>>20)
			}
		})
	}
	if collectAt(0) != 100 {
		t.Error("nothing live")
	}
}

func TestCollectorIsLeftAloneIfTheEnvironmentSaysHowItWorks(t *testing.T) {
	t.Setenv("GOGC", "77")
	before := debug.SetGCPercent(77)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	tuneCollector()
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("percentage %d", got)
	}
}

func TestCollectorIsTunedAfterEachCollection(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	tuneCollector()
	awaitGoal(t, smallHeap)
	kept := make([]byte, 100<<20)
	awaitGoal(t, 200<<20)
	runtime.KeepAlive(kept)
}

// awaitGoal collects until the next collection is due at about goal bytes.
func awaitGoal(t *testing.T, goal uint64) {
	t.Helper()
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		runtime.GC()
		metrics.Read(sample)
		got := sample[0].Value.Uint64()
		if got > goal*8/10 && got < goal*13/10 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the next collection is at %d MiB, not %d", got>>20, goal>>20)
		}
	}
}
