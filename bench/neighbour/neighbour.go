// Package neighbour measures what one tenant at full force does to another one's requests.
package neighbour

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Section measures a quiet tenant beside a noisy one.
var Section = setup.Section{
	Name:  "neighbour",
	About: "a quiet tenant beside one at full force",
	Run:   run,
}

var (
	pairCount   = flag.Int("neighbour-pairs", 5, "neighbour: how often each is measured, alone and beside the force in turn")
	seconds     = flag.Int("neighbour-seconds", 4, "neighbour: how long each measurement takes")
	connections = flag.Int("neighbour-connections", 64, "neighbour: how many connections each kind of force has")
	only        = flag.String("force", "", "neighbour: only the force of this name")
)

const (
	rate   = 200 // requests of the quiet tenant a second
	warmUp = time.Second
)

// forces are what the noisy tenant does. The first is what any proxy has to do.
var forces = []string{"requests", "uploads", "unknown names", "401s", "PATCHes", "connects"}

var client = &process.Program{Module: ".", Package: "neighbour/client"}

// result is what the client prints.
type result struct {
	Took     []time.Duration
	Statuses map[int]int
	Closed   int
}

// measurement is what the quiet tenant has seen, and what the noisy one got meanwhile.
type measurement struct {
	p50, p99 time.Duration
	busy     float64 // how much of a processor the proxy took
	force    result
}

func run(ctx context.Context, b *setup.Bench) error {
	proxies, err := start(ctx, b)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.Out, "\n## A quiet tenant beside one at full force\n\n%d GETs a second of one tenant, from when each was to be made, alone and beside %d connections of another tenant for each kind of force; %s, of which the force has what the others leave. Medians of %d pairs of %d s, in parentheses the middle half of them.\n",
		rate, *connections, setup.Processors(), *pairCount, *seconds)
	fmt.Fprintf(b.Out, "\n| force | proxy | alone: p50 | p99 | beside it: p50 | p99 | p99, times the quiet one | processor | answers a second to the force |\n|---|---|---:|---:|---:|---:|---|---:|---|\n")
	for _, kinds := range append(slices.Clone(forces), strings.Join(forces[1:], ",")) {
		if *only != "" && *only != kinds {
			continue
		}
		for _, p := range proxies {
			pairs, err := setup.InPairs(*pairCount, p.measure(ctx, b, ""), p.measure(ctx, b, kinds))
			if err != nil {
				return fmt.Errorf("%s beside %s: %w", p.name, kinds, err)
			}
			printRow(b, kinds, p.name, pairs)
		}
	}
	return nil
}

func printRow(b *setup.Bench, kinds, proxy string, pairs []setup.Pair[measurement]) {
	if strings.Contains(kinds, ",") {
		kinds = "all of these but the first"
	}
	median := func(of func(setup.Pair[measurement]) float64) float64 { return setup.SpreadOf(pairs, of).Median }
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	ratio := setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return float64(p.B.p99) / float64(p.A.p99) })
	answers := pairs[len(pairs)/2].B.force
	var each []string
	for _, status := range slices.Sorted(maps.Keys(answers.Statuses)) {
		each = append(each, fmt.Sprintf("%d: %.0f", status, float64(answers.Statuses[status])/(warmUp.Seconds()+float64(*seconds))))
	}
	if answers.Closed > 0 {
		each = append(each, fmt.Sprintf("none: %.0f", float64(answers.Closed)/(warmUp.Seconds()+float64(*seconds))))
	}
	fmt.Fprintf(b.Out, "| %s | %s | %.2f ms | %.2f ms | %.2f ms | %.2f ms | **%.1f** (%.1f to %.1f) | %.0f %% | %s |\n", kinds, proxy,
		median(func(p setup.Pair[measurement]) float64 { return ms(p.A.p50) }), median(func(p setup.Pair[measurement]) float64 { return ms(p.A.p99) }),
		median(func(p setup.Pair[measurement]) float64 { return ms(p.B.p50) }), median(func(p setup.Pair[measurement]) float64 { return ms(p.B.p99) }),
		ratio.Median, ratio.Low, ratio.High, 100*median(func(p setup.Pair[measurement]) float64 { return p.B.busy }), strings.Join(each, ", "))
}

// measure returns what measures the quiet tenant beside the kinds of force, or alone.
func (p *proxy) measure(ctx context.Context, b *setup.Bench, kinds string) func() (measurement, error) {
	return func() (m measurement, err error) {
		path, err := b.Path(client)
		if err != nil {
			return m, err
		}
		duration := time.Duration(*seconds) * time.Second
		forced := make(chan error, 1)
		if kinds == "" {
			forced <- nil
		} else {
			go func() {
				command := setup.ForOthers.PinLast(process.Command{Path: path, Args: []string{
					"-address", p.noisy, "-force", kinds, "-connections", fmt.Sprint(*connections), "-token", token(), "-for", fmt.Sprint(warmUp + duration),
				}})
				forced <- read(ctx, command, &m.force)
			}()
			select { // It begins before it is measured.
			case <-time.After(warmUp):
			case <-ctx.Done():
				return m, ctx.Err()
			}
		}
		before, err := setup.ProcessorTime(p.process.Pid())
		if err != nil {
			return m, err
		}
		begun := time.Now()
		var quiet result
		command := setup.ForOthers.Pin(process.Command{Path: path, Args: []string{"-address", p.quiet, "-paced", fmt.Sprint(rate), "-for", fmt.Sprint(duration)}})
		if err := read(ctx, command, &quiet); err != nil {
			return m, err
		}
		after, err := setup.ProcessorTime(p.process.Pid())
		if err != nil {
			return m, err
		}
		m.busy = (after - before).Seconds() / time.Since(begun).Seconds()
		if len(quiet.Took) == 0 || quiet.Statuses[200] != len(quiet.Took) {
			return m, fmt.Errorf("the quiet tenant was answered with %v", quiet.Statuses)
		}
		slices.Sort(quiet.Took)
		m.p50, m.p99 = quiet.Took[len(quiet.Took)/2], quiet.Took[len(quiet.Took)*99/100]
		return m, <-forced
	}
}

// read runs a client and reads what it prints.
func read(ctx context.Context, c process.Command, into *result) error {
	output, err := exec.CommandContext(ctx, c.Path, c.Args...).Output()
	if err != nil {
		return fmt.Errorf("the client: %w\n%s", err, output)
	}
	return json.Unmarshal(output, into)
}
