package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Run runs an example in Node and returns what it prints. It ends when all that the
// script has started is done; what fails, also unawaited, is an error.
func (p Package) Run(ctx context.Context, e Example, env Env) ([]byte, error) {
	return node(ctx, env, "", p.path(e))
}

// RunScript is [Package.Run] for the source of a module, which may import all packages.
func RunScript(ctx context.Context, source string, env Env) ([]byte, error) {
	return node(ctx, env, source, "--input-type=module", "-")
}

// node runs Node where it finds the packages, with nothing in its environment but env:
// the SDKs would use a proxy that is named there.
func node(ctx context.Context, env Env, stdin string, args ...string) ([]byte, error) {
	if err := installed(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", append([]string{"--import", "./browserlike.mjs"}, args...)...)
	cmd.Dir = dir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("node %s: %w\n%s", strings.Join(args, " "), errors.Join(err, ctx.Err()), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

func installed() error {
	// npm writes this file last.
	if _, err := os.Stat(filepath.Join(dir(), "node_modules", ".package-lock.json")); err != nil {
		return fmt.Errorf("the SDK is not installed, which `make sdk` does: %w", err)
	}
	return nil
}
