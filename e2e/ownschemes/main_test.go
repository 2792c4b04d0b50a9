// Package ownschemes tests that schemes of another module do what ours do: those of
// examples/ownschemes, in the Caddy that the real xcaddy builds of them and of ours.
//
// OWNSCHEMES_BIN names one that is built; without it the tests build it. DEVVAULT_BIN and
// VAULT_BIN are as for package world.
package ownschemes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// runDir holds the program, if it is built here.
var runDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "upstream-auth-ownschemes")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	runDir = dir
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// program returns the path of the Caddy under test, which is built at the first call.
func program(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("OWNSCHEMES_BIN"); path != "" {
		return filepath.Abs(path)
	}
	tools, err := filepath.Abs("../../tools")
	if err != nil {
		return "", err
	}
	xcaddy, err := output(tools, "go", "tool", "-n", "xcaddy")
	if err != nil {
		return "", err
	}
	builder, caddy := filepath.Join(runDir, "xcaddybuild"), filepath.Join(runDir, "caddy")
	if _, err := output(tools, "go", "build", "-o", builder, "./xcaddybuild"); err != nil {
		return "", err
	}
	_, err = output("../../examples/ownschemes", builder, "-xcaddy", strings.TrimSpace(xcaddy), "-output", caddy)
	return caddy, err
})

// output runs a program in a directory. xcaddybuild ends by itself when no proxy answers;
// so does this, whatever else may hang.
func output(dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	var log strings.Builder
	command.Stderr = &log
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, log.String())
	}
	return string(out), nil
}
