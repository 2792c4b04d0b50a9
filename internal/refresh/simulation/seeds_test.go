package simulation

import (
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSeeds runs one world for each seed.
func TestSeeds(t *testing.T) {
	if seed, err := strconv.ParseUint(os.Getenv("SIMULATION_SEED"), 10, 64); err == nil {
		runSeed(t, seed, true)
		return
	}
	seeds := number("SIMULATION_SEEDS", defaultSeeds)
	if os.Getenv("SIMULATION") == "soak" {
		seeds = 50 * defaultSeeds
	}
	first := number("SIMULATION_FIRST", 1)
	began := time.Now()
	failed := 0
	for seed := first; seed < first+seeds; seed++ {
		if !runSeed(t, seed, false) {
			if failed++; failed >= int(number("SIMULATION_FAILURES", 3)) {
				break
			}
		}
	}
	t.Logf("%d seeds in %v", seeds, time.Since(began).Round(time.Millisecond))
}

func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

func runSeed(t *testing.T, seed uint64, verbose bool) (ok bool) {
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = randomWorld(t, seed)
		w.run()
	})
	return w.report(t, seed, verbose)
}

// report tells what is broken, and how it came.
func (w *world) report(t *testing.T, seed uint64, verbose bool) (ok bool) {
	broken := w.ledger.violations
	if len(broken) == 0 && !verbose {
		return true
	}
	t.Helper()
	t.Logf("seed %d: %+v", seed, w.profile)
	for _, tenant := range w.tenants {
		t.Logf("%s: %+v", tenant.name, tenant.rules)
	}
	t.Logf("\n%s", w.trace)
	for _, v := range broken {
		t.Errorf("seed %d: %v", seed, v)
	}
	return len(broken) == 0
}
