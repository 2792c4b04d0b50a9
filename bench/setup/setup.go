// Package setup builds the programs that are measured and starts them.
package setup

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Bench is one run of the benchmarks.
type Bench struct {
	Dir    string    // temporary, for everybody's files
	Out    io.Writer // takes the figures, in Markdown
	Notice io.Writer // takes the progress

	end []func()
}

// New begins a run.
func New(out, notice io.Writer) (*Bench, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "cmd", "caddy")); err != nil {
		return nil, fmt.Errorf("the benchmarks run in the directory bench: %w", err)
	}
	dir, err := os.MkdirTemp("", "upstream-auth-bench-")
	return &Bench{Dir: dir, Out: out, Notice: notice}, err
}

// Defer has f run at the end of the run, the last one first.
func (b *Bench) Defer(f func()) { b.end = append(b.end, f) }

// Close ends all that was started, and removes the files.
func (b *Bench) Close() {
	for len(b.end) > 0 {
		last := len(b.end) - 1
		f := b.end[last]
		b.end = b.end[:last]
		f()
	}
	_ = os.RemoveAll(b.Dir)
}

// Caddy is the product, Devvault the Vault of the tests. The makefile says where
// they are; else they are built.
var (
	Caddy    = &process.Program{Env: "CADDY_BIN", Module: "..", Package: "cmd/caddy"}
	Devvault = &process.Program{Env: "DEVVAULT_BIN", Module: "../cmd/devvault", Package: "."}
	Stock    = &process.Program{Module: "stock", Package: ".", Flags: []string{"-pgo=off"}}
)

// Path returns the path of a program, built if need be.
func (b *Bench) Path(p *process.Program) (string, error) { return p.Path(b.Dir) }

// Mkdir makes a directory of its own for somebody's files.
func (b *Bench) Mkdir(name string) (string, error) { return os.MkdirTemp(b.Dir, name+"-") }

// Start starts a program, which ends with the run at the latest.
func (b *Bench) Start(c process.Command) (*process.Process, error) {
	p, err := process.Start(c)
	if err == nil {
		b.Defer(p.Kill)
	}
	return p, err
}

// Find returns the path of a program of the system.
func Find(name, pack string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (Debian: apt-get install %s): %w", name, pack, err)
	}
	return path, nil
}

// Section is one of the things that are measured.
type Section struct {
	Name  string
	About string
	Named bool // It runs only if it is named.
	Run   func(ctx context.Context, b *Bench) error
}
