// Command bench measures what the sidecar costs. It prints the figures in
// Markdown; run it in its own directory, or as `make bench`.
//
// Usage:
//
//	bench [section ...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/bench/compare"
	"github.com/upstreamauth/caddy-upstream-auth/bench/neighbour"
	"github.com/upstreamauth/caddy-upstream-auth/bench/scale"
	"github.com/upstreamauth/caddy-upstream-auth/bench/setup"
	"github.com/upstreamauth/caddy-upstream-auth/bench/storm"
	"github.com/upstreamauth/caddy-upstream-auth/bench/uploads"
)

// sections run in this order.
var sections = []setup.Section{compare.Section, uploads.Section, storm.Section, neighbour.Section, scale.Section, compare.Profile}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: bench [section ...]")
		for _, s := range sections {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-10s %s\n", s.Name, s.About)
		}
	}
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(sections, func(s setup.Section) bool { return s.Name == name }) {
			return fmt.Errorf("there is no section %q", name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := setup.New(os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	defer b.Close()
	for _, s := range sections {
		if !slices.Contains(names, s.Name) && (s.Named || len(names) > 0) {
			continue
		}
		fmt.Fprintf(b.Notice, "==> %s: %s\n", s.Name, s.About)
		if err := s.Run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}
