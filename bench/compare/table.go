package compare

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

func printRows(out io.Writer, rows []row) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(out, "\n## Side by side\n\n%s. Medians of %d pairs, in parentheses the middle half of them.\n", setup.Processors(), *pairCount)
	fmt.Fprintf(out, "\n| load | proxy | requests/s | ratio | to | processor time a request |\n|---|---|---:|---|---|---:|\n")
	for _, r := range rows {
		fmt.Fprintf(out, "| %s | %s | %.0f | **%.3f** (%.3f to %.3f) | %s: %.0f | %s, %+.1f µs |\n",
			r.load.name, r.a, r.rate, r.ratio.Median, r.ratio.Low, r.ratio.High, r.b, r.baseRate, microseconds(r.cpu), float64(r.cpu-r.base)/1e3)
	}
}

func microseconds(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }

// latencies measures how long answers take at half of what the bare proxy can do.
func latencies(ctx context.Context, b *setup.Bench, running map[string]*contender, scripts string) error {
	full := load{name: "saturation", connections: 64, duration: 2 * time.Second, path: "/"}
	saturated, err := full.run(ctx, running[bare], scripts)
	if err != nil {
		return err
	}
	rate := int(saturated.rate / 2)
	const seconds = 2
	fmt.Fprintf(b.Out, "\n## Latency at a fixed rate\n\n%d requests a second, half of what the bare proxy can do; %d connections, in step. Medians of %d pairs.\n", rate, rateConnections, *pairCount)
	fmt.Fprintf(b.Out, "\n| proxy | p50 | p90 | p99 | p99.9 | beside it, reverse_proxy: p50 | p90 | p99 | p99.9 |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, v := range versus {
		if v[1] != bare || v[0] == many || v[0] == untuned || v[0] == unguided || *against != "" && *against != v[0] {
			continue
		}
		measure := func(c *contender) func() (latency, error) {
			return func() (latency, error) { return atRate(ctx, c, rate, seconds, scripts) }
		}
		pairs, err := setup.InPairs(*pairCount, measure(running[v[0]]), measure(running[v[1]]))
		if err != nil {
			return err
		}
		fmt.Fprintf(b.Out, "| %s", v[0])
		for _, side := range []func(setup.Pair[latency]) latency{
			func(p setup.Pair[latency]) latency { return p.A }, func(p setup.Pair[latency]) latency { return p.B },
		} {
			for i := range percentiles {
				of := setup.SpreadOf(pairs, func(p setup.Pair[latency]) float64 { return side(p)[i].Seconds() * 1e3 })
				fmt.Fprintf(b.Out, " | %.2f ms", of.Median)
			}
		}
		fmt.Fprintln(b.Out, " |")
		fmt.Fprintf(b.Notice, "    latency: %s done\n", v[0])
	}
	return nil
}
