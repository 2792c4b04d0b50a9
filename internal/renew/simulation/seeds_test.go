package simulation

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSeeds runs one world for each of some seeds, from a random one on.
func TestSeeds(t *testing.T) {
	if seed, err := strconv.ParseUint(os.Getenv("SIMULATION_SEED"), 10, 64); err == nil {
		runSeed(t, seed, true)
		return
	}
	seeds := number("SIMULATION_SEEDS", defaultSeeds)
	first := number("SIMULATION_FIRST", rand.Uint64N(1<<40))
	began := time.Now()
	failed := 0
	for seed := first; seed < first+seeds; seed++ {
		if !runSeed(t, seed, false) {
			if failed++; failed >= int(number("SIMULATION_FAILURES", 3)) { //nolint:gosec // a small number
				break
			}
		}
	}
	t.Logf("%d seeds from %d on in %v", seeds, first, time.Since(began).Round(time.Millisecond))
}

// TestSeedsThatFailed runs the seeds that broke something once. Since what a seed stands
// for changes with the simulation, the defects they found are scenes, too.
func TestSeedsThatFailed(t *testing.T) {
	for _, seed := range []uint64{
		5000117, 7010359, 7045551, 7025964, 7031135, 5003627, 7051759, 5015651,
		300, 508, 705, 941, 966, 1385, 1432, 2245, 3045, 3351, 5333,
		7063, 8064, 8760, 11586, 12950, 15152, 25732, 27767, 29751, 309574833605454175, 49449873675551337, 50243994800302263, 197431509376923050, 220181556247935893, 174412837491390204, 30283703506905461, 7904054753219530, 225357137575823621, 197811896488132514, 29431611048150137, 117110202205498840, 3606442148018188, 202073258209077638,
	} {
		runSeed(t, seed, false)
	}
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
