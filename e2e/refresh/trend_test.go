package refresh

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// reading is one measurement of something that may grow.
type reading struct {
	at    time.Duration
	value float64
}

// trend is the straight line through readings with the least squares.
type trend struct {
	perMinute float64
	error     float64 // standard error of perMinute
	first     float64 // where the line begins
}

// trendOf returns the trend of readings, of which there are at least three.
//
// The residuals of a process's memory are not independent: a heap that grew waits for its
// next collection. So the standard error is that of fewer readings, as many as the
// correlation of neighbours leaves (an autoregressive process of the first order), which is
// taken to be two of its own standard errors above what few readings show.
func trendOf(readings []reading) trend {
	n := float64(len(readings))
	var meanX, meanY float64
	for _, r := range readings {
		meanX += r.at.Minutes() / n
		meanY += r.value / n
	}
	var xx, xy float64
	for _, r := range readings {
		x := r.at.Minutes() - meanX
		xx += x * x
		xy += x * (r.value - meanY)
	}
	t := trend{perMinute: xy / xx}
	t.first = meanY + t.perMinute*(readings[0].at.Minutes()-meanX)
	var squares, neighbours, before float64
	for _, r := range readings {
		residual := r.value - meanY - t.perMinute*(r.at.Minutes()-meanX)
		squares += residual * residual
		neighbours += residual * before
		before = residual
	}
	if squares > 0 {
		correlation := min(max(neighbours/squares, 0)+2/math.Sqrt(n), 0.9)
		t.error = math.Sqrt(squares / (n - 2) / xx * (1 + correlation) / (1 - correlation))
	}
	return t
}

// certainly is how many standard errors a trend has to be beyond a bound before it counts.
const certainly = 4

// enoughReadings are those that it takes at least to tell. Of fewer that are as restless as
// those of the test below, one series in 2,000 looks like growth; of so many none in a
// million did.
const enoughReadings = 30

// exceeds reports whether the readings certainly grow faster than a bound. One that does
// not grow at all has the bound itself as a margin, too.
func (t trend) exceeds(perMinute float64) bool { return t.perMinute-certainly*t.error > perMinute }

// What grows is told from what is only restless, also if it is restless in waves.
func TestTrendTellsGrowthFromNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const memory = 0.7 // of a reading, of the one before
	series := func(n int, perMinute, noise float64) []reading {
		var readings []reading
		wave := 0.0
		for i := range n {
			at := time.Duration(i) * 10 * time.Second
			wave = memory*wave + random.NormFloat64()*noise*math.Sqrt(1-memory*memory)
			readings = append(readings, reading{at, 100 + perMinute*at.Minutes() + wave})
		}
		return readings
	}
	if got := trendOf(series(80, 3, 0)); math.Abs(got.perMinute-3) > 1e-9 || math.Abs(got.first-100) > 1e-9 || got.error > 1e-9 {
		t.Errorf("a straight line: %+v", got)
	}
	for range 1000 {
		for _, n := range []int{enoughReadings, 80} {
			if got := trendOf(series(n, 0, 8)); got.exceeds(1) {
				t.Fatalf("noise for growth: %d readings, %+v", n, got)
			}
		}
		if got := trendOf(series(80, 10, 8)); !got.exceeds(1) {
			t.Fatalf("growth for noise: %+v", got)
		}
	}
}
