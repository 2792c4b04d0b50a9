package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// local measures a sidecar on a local store: how long it takes to start, and what the
// tenants in its cache take.
func local(ctx context.Context, b *setup.Bench) error {
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.close()
	fmt.Fprintf(b.Out, "\n## %d tenants in a local store, %d in the cache\n\n", *stored, *cached)
	empty, err := startTime(ctx, b, nil, up, nil)
	if err != nil {
		return err
	}
	all := names(*stored)
	full, err := startTime(ctx, b, all, up, func(c *process.Caddy) error {
		return cache(ctx, b, c, all[:min(*cached, *stored)])
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(b.Out, "- From the start of the process until the first request is answered: %v with the tenants in the store, %v with one.\n",
		full.Round(time.Millisecond), empty.Round(time.Millisecond))
	return nil
}

// startTime measures how long a sidecar with those tenants takes to answer, and has then
// do something with it.
func startTime(ctx context.Context, b *setup.Bench, tenants []string, up *upstream, then func(*process.Caddy) error) (time.Duration, error) {
	dir, err := b.Mkdir("scale")
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	tenants = append(slices.Clip(tenants), "first")
	store, err := setup.LocalStore(ctx, dir, tenants, document)
	if err != nil {
		return 0, err
	}
	if info, err := os.Stat(filepath.Join(dir, "credentials.db")); err == nil && then != nil {
		fmt.Fprintf(b.Out, "- The file has %s; filling it took %v.\n", setup.MiB(info.Size()), time.Since(begun).Round(time.Second))
	}
	if _, err := b.Path(setup.Caddy); err != nil { // It may have to be built.
		return 0, err
	}
	options := store + "\n" + fmt.Sprintf(provider, "https://login.example.com/token")
	begun = time.Now()
	c, err := setup.StartCaddy(ctx, b, dir, setup.Sidecar{Options: options, Site: "upstream_auth crm " + up.address})
	if err != nil {
		return 0, err
	}
	defer c.Kill()
	if _, err := get(c.Address, []string{"first"}, 1); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if then == nil {
		return took, nil
	}
	return took, then(c)
}

// cache asks twice for each of the tenants and measures what they have left in memory.
func cache(ctx context.Context, b *setup.Bench, c *process.Caddy, tenants []string) error {
	if err := warm(c); err != nil {
		return err
	}
	before, err := liveHeap(ctx, c)
	if err != nil {
		return err
	}
	misses, err := get(c.Address, tenants, 16)
	if err != nil {
		return err
	}
	hits, err := get(c.Address, tenants, 16)
	if err != nil {
		return err
	}
	after, err := liveHeap(ctx, c)
	if err != nil {
		return err
	}
	memory, err := c.Memory()
	if err != nil {
		return err
	}
	documents := 0
	for _, tenant := range tenants {
		documents += len(document(tenant))
	}
	count := int64(len(tenants))
	each, doc := (after-before)/count, int64(documents)/count
	fmt.Fprintf(b.Out, "- Live heap, after a collection: %s before, %s after each was asked for twice: %d bytes for each, **%d** beyond its document of %d. VmRSS, with garbage and the store's pages: %s.\n",
		setup.MiB(before), setup.MiB(after), each, each-doc, doc, setup.MiB(memory.Resident))
	fmt.Fprintf(b.Out, "- Through the proxy, 16 at a time: the median answer takes %v if the credential is read from the store, %v if it is in the cache.\n",
		setup.Median(misses).Round(time.Microsecond), setup.Median(hits).Round(time.Microsecond))
	return nil
}

// warm has connections and buffers take what they take, before anything is measured.
func warm(c *process.Caddy) error {
	_, err := get(c.Address, slices.Repeat([]string{"first"}, 20_000), 16)
	return err
}

// liveHeap is what is on the heap of c after a collection, in bytes.
func liveHeap(ctx context.Context, c *process.Caddy) (int64, error) {
	if _, err := c.Get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return 0, err
	}
	text, err := c.Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_alloc_bytes "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return int64(n), err
		}
	}
	return 0, errors.New("the size of the heap is not among the metrics")
}
