// Package compare measures proxies side by side: each a process of its own, before the
// same upstream, asked in turn.
package compare

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
)

// Section compares the proxies.
var Section = setup.Section{
	Name:  "compare",
	About: "proxies side by side: throughput, uploads, downloads, latency at a fixed rate",
	Run:   run,
}

var (
	pairCount = flag.Int("pairs", 9, "compare: how often each two proxies are measured in turn")
	seconds   = flag.Int("seconds", 2, "compare: how long each measurement of small requests takes")
	chartFile = flag.String("chart", "", "compare: SVG file for the chart")
	only      = flag.String("load", "", "compare: only the load of this name")
	against   = flag.String("proxy", "", "compare: only the proxy of this name")
)

// row is one proxy compared with another under one load.
type row struct {
	load      load
	a, b      string // b by a is the ratio
	rate      float64
	baseRate  float64
	ratio     setup.Spread
	cpu, base time.Duration // for each request
}

// versus are the comparisons made, the first one's rate by the second one's.
var versus = [][2]string{
	{oauth2, bare}, {oauth2, stock}, {header, bare}, {vault, bare}, {many, bare},
	{stock, bare}, {handwritten, bare}, {nginx, bare}, {untuned, bare}, {unguided, bare},
}

func run(ctx context.Context, b *setup.Bench) error {
	running, loads, scripts, err := prepare(ctx, b)
	if err != nil {
		return err
	}
	var rows []row
	for _, l := range loads {
		if *only != "" && *only != l.name {
			continue
		}
		for _, v := range versus {
			if *against != "" && *against != v[0] || !l.suits(v) {
				continue
			}
			r, err := compare(ctx, l, running[v[0]], running[v[1]], scripts)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.Notice, "    %-28s %-40s %.3f (%.3f to %.3f) of %s\n", l.name, r.a, r.ratio.Median, r.ratio.Low, r.ratio.High, r.b)
			rows = append(rows, r)
		}
	}
	printRows(b.Out, rows)
	if *chartFile != "" {
		if err := drawChart(rows, *chartFile); err != nil {
			return err
		}
	}
	if *only != "" && *only != "latency" {
		return nil
	}
	return latencies(ctx, b, running, scripts)
}

// suits reports whether two contenders are compared under l: the large bodies and what
// wrk alone can do are left to those that they say something of.
func (l load) suits(v [2]string) bool {
	switch v[0] {
	case many:
		return !l.http2 && l.upload == "" && l.requests == 0
	case untuned, unguided:
		return !l.http2 && l.connections == 16
	}
	return v[0] != vault && v[0] != header || l.requests == 0 && l.upload == ""
}

// compare measures x and y in pairs.
func compare(ctx context.Context, l load, x, y *contender, scripts string) (row, error) {
	measure := func(c *contender) func() (measurement, error) {
		return func() (measurement, error) { return l.run(ctx, c, scripts) }
	}
	pairs, err := setup.InPairs(*pairCount, measure(x), measure(y))
	if err != nil {
		return row{}, err
	}
	r := row{load: l, a: x.name, b: y.name}
	r.ratio = setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return p.A.rate / p.B.rate })
	r.rate = setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return p.A.rate }).Median
	r.baseRate = setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return p.B.rate }).Median
	r.cpu = time.Duration(setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return float64(p.A.cpu) }).Median)
	r.base = time.Duration(setup.SpreadOf(pairs, func(p setup.Pair[measurement]) float64 { return float64(p.B.cpu) }).Median)
	return r, nil
}

// prepare starts the upstream and the proxies, and writes what the loads need.
func prepare(ctx context.Context, b *setup.Bench) (map[string]*contender, []load, string, error) {
	scripts, err := b.Mkdir("scripts")
	if err != nil {
		return nil, nil, "", err
	}
	small := time.Duration(*seconds) * time.Second
	var loads []load
	for _, http2 := range []bool{false, true} {
		for _, connections := range []int{1, 16, 256} {
			name := fmt.Sprintf("GET h1 c=%d", connections)
			if http2 {
				name = fmt.Sprintf("GET h2 c=%d", connections)
			}
			loads = append(loads, load{name: name, http2: http2, connections: connections, duration: small, path: "/"})
		}
	}
	one, hundred := filepath.Join(scripts, "1MiB"), filepath.Join(scripts, "100MiB")
	loads = append(loads,
		load{name: "upload 1 MiB", connections: 8, duration: small, path: "/", upload: one},
		load{name: "upload 100 MiB", connections: 2, requests: 8, path: "/", upload: hundred},
		load{name: "download 1 MiB", connections: 8, requests: 1000, path: fmt.Sprintf("/?size=%d", 1<<20)},
		load{name: "download 100 MiB", connections: 2, requests: 8, path: fmt.Sprintf("/?size=%d", 100<<20)},
	)
	for name, content := range map[string][]byte{
		"1MiB": make([]byte, 1<<20), "100MiB": make([]byte, 100<<20), "one.lua": []byte(oneTenant), "many.lua": []byte(manyTenants),
	} {
		if err := os.WriteFile(filepath.Join(scripts, name), content, 0o600); err != nil {
			return nil, nil, "", err
		}
	}
	for program, pack := range map[string]string{"wrk": "wrk", "h2load": "nghttp2-client"} {
		if _, err := setup.Find(program, pack); err != nil {
			return nil, nil, "", err
		}
	}
	upstream, err := setup.StartUpstream(ctx, b, setup.ForOthers.Pin)
	if err != nil {
		return nil, nil, "", err
	}
	running := make(map[string]*contender)
	for _, v := range versus {
		for _, name := range v {
			if running[name] != nil || *against != "" && !slices.Contains(v[:], *against) {
				continue
			}
			if running[name], err = start(ctx, b, name, upstream); err != nil {
				return nil, nil, "", err
			}
			// What is made once is made before anything is measured.
			warm := load{name: "warming up", connections: 16, duration: 4 * time.Second, path: "/"}
			if _, err := warm.run(ctx, running[name], scripts); err != nil {
				return nil, nil, "", err
			}
		}
	}
	return running, loads, scripts, nil
}

// Scripts of wrk.
const (
	oneTenant = `wrk.headers["X-Tenant-ID"] = "acme"
`
	manyTenants = `local requests, next = {}, 0
init = function()
	for i = 0, 9999 do
		requests[i] = wrk.format("GET", nil, { ["X-Tenant-ID"] = string.format("tenant-%05d", i) })
	end
end
request = function()
	next = (next + 1) % 10000
	return requests[next]
end
`
)
