package refresh

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// sampling is how often a soak measures.
const sampling = 10 * time.Second

// growth is by how much what a sidecar takes may grow in a minute. A leak of one goroutine
// or of 50 KiB for each of the refreshes, of which there are a thousand a minute, is far
// beyond.
var growth = []struct {
	name      string
	perMinute float64
	of        func(*usage) *[]reading
}{
	{"resident memory in MiB", 1, func(u *usage) *[]reading { return &u.memory }},
	{"goroutines", 2, func(u *usage) *[]reading { return &u.goroutines }},
	{"descriptors", 1, func(u *usage) *[]reading { return &u.descriptors }},
}

// The same faults as in TestFaultsAtRandom, and a token endpoint that takes its time, for
// as long as E2E_SOAK says (20m), with many tenants whose access tokens live 5 s; a tenth
// of them keep their refresh tokens. In the end all is well as it is there, and the sidecar
// that was never killed takes no more than in the beginning.
//
// The load leaves two processors a part of their time: where all are busy, what is measured
// is the machine.
func TestSoak(t *testing.T) {
	text := os.Getenv("E2E_SOAK")
	if text == "" {
		t.Skip("E2E_SOAK names no duration")
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	c := newChaos(t, trouble{
		duration: duration, tenants: 200, keeping: 10,
		lifespan: 5 * time.Second, store: "cache_ttl 5s\nstale_if_error 1h", oauth2: "refresh_ahead 1s",
		// An answer that comes 14 s after a token that was sent 10 s after its claim is still
		// listened for, though its process sleeps for 2 s.
		takeover: 40 * time.Second,
		// 40 requests a second, if none has to wait; one in four or five is refreshed for.
		apps: 40, pause: 2 * time.Second, expiring: 500 * time.Millisecond,
		calm: 2 * time.Second, spared: "b", mishaps: 3, late: 6, within: 5 * time.Second,
	})
	var u usage
	c.endure(func(ctx context.Context) { u.watch(ctx, c.B) })
	c.settle()
	c.report(u.rows(t)...)
}

// usage is what a sidecar has taken in the course of time.
type usage struct {
	memory, goroutines, descriptors []reading
	processors                      float64 // share of the time that the machine was busy
}

// watch measures until ctx is done. What cannot be measured in time is left out, such as
// the goroutines of a process that is suspended.
func (u *usage) watch(ctx context.Context, w *world.World) {
	begun := time.Now()
	before, err := process.Processors()
	if err != nil {
		w.Error(err)
	}
	for ticker := time.Tick(sampling); ; {
		select {
		case <-ctx.Done():
			now, err := process.Processors()
			if err != nil {
				w.Error(err)
			}
			u.processors = now.Since(before)
			return
		case <-ticker:
		}
		at := time.Since(begun)
		memory, err := w.Caddy.Memory()
		if err != nil {
			w.Error(err)
			continue
		}
		descriptors, err := w.Caddy.Descriptors()
		if err != nil {
			w.Error(err)
			continue
		}
		u.memory = append(u.memory, reading{at, float64(memory.Resident) / world.MiB})
		u.descriptors = append(u.descriptors, reading{at, float64(descriptors)})
		if n, err := goroutines(ctx, w.Caddy); err == nil {
			u.goroutines = append(u.goroutines, reading{at, float64(n)})
		}
	}
}

// goroutines is how many a Caddy has.
func goroutines(ctx context.Context, c *process.Caddy) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, sampling/2)
	defer cancel()
	profile, err := c.Get(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(profile), "\n")
	return strconv.Atoi(strings.TrimPrefix(line, "goroutine profile: total "))
}

// rows checks that nothing grows over the last two thirds of the time, and returns what
// there is to report. The first third is for caches, connections and the heap to reach
// their size.
func (u *usage) rows(t *testing.T) (rows [][2]string) {
	t.Helper()
	rows = append(rows, [2]string{"processors busy", fmt.Sprintf("%.0f %%", 100*u.processors)})
	for _, g := range growth {
		all := *g.of(u)
		last := all[len(all)/3:]
		if len(last) < 3 {
			t.Fatalf("%s: only %d readings", g.name, len(all))
		}
		line := trendOf(last)
		switch {
		case len(last) < enoughReadings:
			t.Logf("%s: %d readings are too few to tell whether it grows", g.name, len(last))
		case line.exceeds(g.perMinute):
			t.Errorf("%s: %+v, more than %v a minute: %v", g.name, line, g.perMinute, all)
		}
		highest := 0.0
		for _, r := range all {
			highest = max(highest, r.value)
		}
		rows = append(rows, [2]string{
			g.name + " of the sidecar that lives",
			fmt.Sprintf("%.0f at first, %.0f after a third, %.0f at most; %+.2f a minute since (± %.2f)", all[0].value, line.first, highest, line.perMinute, line.error),
		})
	}
	return rows
}
