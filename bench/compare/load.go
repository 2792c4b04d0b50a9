package compare

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// load is one way to ask a proxy as much as it can bear.
type load struct {
	name        string
	http2       bool
	connections int
	duration    time.Duration // for requests of which there are many a second, or
	requests    int           // for those that take long
	path        string
	upload      string // file that is posted; empty: a GET
}

// measurement is what one run of a load has shown.
type measurement struct {
	rate float64       // requests a second
	cpu  time.Duration // of the proxy, for each request
}

// run puts the load on c.
func (l load) run(ctx context.Context, c *contender, scripts string) (measurement, error) {
	command := l.wrk(c, scripts)
	if l.http2 || l.upload != "" || l.requests > 0 {
		command = l.h2load(c)
	}
	command = setup.ForOthers.Pin(command)
	before, err := setup.ProcessorTime(c.process.Pid())
	if err != nil {
		return measurement{}, err
	}
	output, err := exec.CommandContext(ctx, command.Path, command.Args...).CombinedOutput()
	if err != nil {
		return measurement{}, fmt.Errorf("%s: %w\n%s", l.name, err, output)
	}
	after, err := setup.ProcessorTime(c.process.Pid())
	if err != nil {
		return measurement{}, err
	}
	rate, count, err := read(output)
	if err != nil {
		return measurement{}, fmt.Errorf("%s on %s: %w\n%s", l.name, c.name, err, output)
	}
	return measurement{rate: rate, cpu: (after - before) / time.Duration(count)}, nil
}

func (l load) wrk(c *contender, scripts string) process.Command {
	script := "one.lua"
	if c.many {
		script = "many.lua"
	}
	return process.Command{Path: "wrk", Args: []string{
		"-t1", "-c", strconv.Itoa(l.connections), "-d", fmt.Sprintf("%.0fs", l.duration.Seconds()),
		"-s", scripts + "/" + script, "http://" + c.h1 + l.path,
	}}
}

func (l load) h2load(c *contender) process.Command {
	args := []string{"-t1", "-c", strconv.Itoa(l.connections), "-H", "X-Tenant-ID: acme", "-w", "24", "-W", "26"}
	if l.requests > 0 {
		args = append(args, "-n", strconv.Itoa(l.requests))
	} else {
		args = append(args, "-D", fmt.Sprintf("%.0f", l.duration.Seconds()))
	}
	if l.upload != "" {
		args = append(args, "-d", l.upload)
	}
	address := c.h2
	if !l.http2 {
		args, address = append(args, "--h1"), c.h1
	}
	return process.Command{Path: "h2load", Args: append(args, "http://"+address+l.path)}
}

var (
	wrkCount    = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkRate     = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)`)
	wrkFailed   = regexp.MustCompile(`Non-2xx|Socket errors`)
	h2loadRate  = regexp.MustCompile(`(?m)^finished in [0-9.a-z]+, ([0-9.]+) req/s`)
	h2loadCount = regexp.MustCompile(`(?m)^requests: .*, (\d+) done, (\d+) succeeded, (\d+) failed`)
	h2load2xx   = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
)

// read finds the requests a second, and how many there were, in what wrk or h2load
// has printed. An answer other than 200 is an error: a proxy that refuses is fast.
func read(output []byte) (rate float64, count int, err error) {
	if m := wrkRate.FindSubmatch(output); m != nil {
		if wrkFailed.Match(output) {
			return 0, 0, errors.New("not all requests were answered by 200")
		}
		n := wrkCount.FindSubmatch(output)
		if n == nil {
			return 0, 0, errors.New("no count of requests")
		}
		rate, _ = strconv.ParseFloat(string(m[1]), 64)
		count, _ = strconv.Atoi(string(n[1]))
		return rate, max(count, 1), nil
	}
	m, n, status := h2loadRate.FindSubmatch(output), h2loadCount.FindSubmatch(output), h2load2xx.FindSubmatch(output)
	if m == nil || n == nil || status == nil {
		return 0, 0, errors.New("no result")
	}
	if string(status[3]) != "0" || string(status[4]) != "0" || string(status[1]) == "0" {
		return 0, 0, errors.New("not all requests were answered by 200")
	}
	rate, _ = strconv.ParseFloat(string(m[1]), 64)
	count, _ = strconv.Atoi(string(n[1]))
	return rate, max(count, 1), nil
}
