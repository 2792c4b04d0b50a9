// Package process builds the programs under test, starts them as processes, and
// ends them.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Program is a program of this repository that tests run.
type Program struct {
	Env     string   // environment variable with the path of a built one
	Module  string   // directory of its Go module, from the working directory
	Package string   // directory of its package, from its module
	Flags   []string // of go build

	once sync.Once
	path string
	err  error
}

// Path returns the path of the program: what the environment names, else what
// is built in dir at the first call.
func (p *Program) Path(dir string) (string, error) {
	p.once.Do(func() {
		if p.path = os.Getenv(p.Env); p.path != "" {
			p.path, p.err = filepath.Abs(p.path)
			return
		}
		module, err := filepath.Abs(p.Module)
		if err != nil {
			p.err = err
			return
		}
		p.path = filepath.Join(dir, filepath.Base(filepath.Join(module, p.Package)))
		args := append([]string{"build", "-o", p.path}, p.Flags...)
		build := exec.CommandContext(context.Background(), "go", append(args, "./"+p.Package)...)
		build.Dir = p.Module
		if output, err := build.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("building %s: %w\n%s", p.Package, err, strings.TrimSpace(string(output)))
		}
	})
	return p.path, p.err
}
