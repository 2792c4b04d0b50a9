package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// percentiles of the latency, in the order of [latency].
var percentiles = []float64{0.50, 0.90, 0.99, 0.999}

// latency is how long answers took at a fixed rate, one value for each of percentiles.
type latency []time.Duration

// rateConnections share the rate. Each has so little of it that it seldom waits for an
// answer when the next request is due.
const rateConnections = 64

// atRate asks c for so many requests a second for so many seconds.
func atRate(ctx context.Context, c *contender, rate, seconds int, scripts string) (latency, error) {
	file := filepath.Join(scripts, "requests.log")
	_ = os.Remove(file) // h2load appends to it
	command := setup.ForOthers.Pin(process.Command{Path: "h2load", Args: []string{
		"--h1", "-t1", "-c", strconv.Itoa(rateConnections), "--rps", strconv.Itoa(rate / rateConnections), "-D", strconv.Itoa(seconds),
		"--log-file", file, "-H", "X-Tenant-ID: acme", "http://" + c.h1 + "/",
	}})
	if output, err := exec.CommandContext(ctx, command.Path, command.Args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s at a fixed rate: %w\n%s", c.name, err, output)
	}
	log, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	took, err := readLog(string(log))
	if err != nil {
		return nil, fmt.Errorf("%s at %d requests a second: %w", c.name, rate, err)
	}
	if len(took) < rate*seconds*9/10 {
		return nil, fmt.Errorf("%s at %d requests a second: %d in %d s", c.name, rate, len(took), seconds)
	}
	slices.Sort(took)
	l := make(latency, len(percentiles))
	for i, p := range percentiles {
		l[i] = took[int(p*float64(len(took)-1))]
	}
	return l, nil
}

// readLog reads h2load's log: of each request when it began, its status, and how long it
// took, in microseconds.
func readLog(log string) ([]time.Duration, error) {
	var took []time.Duration
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, errors.New("the log of requests cannot be read")
		}
		if fields[1] != "200" {
			return nil, fmt.Errorf("status %s", fields[1])
		}
		microseconds, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the log of requests: %w", err)
		}
		took = append(took, time.Duration(microseconds)*time.Microsecond)
	}
	return took, nil
}
