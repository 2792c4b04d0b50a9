// Package programs runs programs of others that stand before or behind the sidecar, or
// are the app: clients, caches and servers as Debian ships them. e2e/programs.sh
// installs what is missing. Those of npm are in package sdk.
package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// Source is the path of one of the programs beside this file.
func Source(name string) string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), name)
}

// Run runs a program to its end and returns what it printed. It gets nothing of our
// environment but PATH: a proxy that is named there would come between.
func Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return RunIn(ctx, nil, name, args...)
}

// RunIn is Run with more of an environment.
func RunIn(ctx context.Context, environment []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environment...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), errors.Join(err, ctx.Err()), stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// start starts a server, which gets the address that it is to listen on, and ends it at
// the end of the test.
func start(t *testing.T, command func(address string) process.Command) (address string) {
	t.Helper()
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	c := command(address)
	if c.Path, err = look(c.Path); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = p.Stop(ctx) // how it ends is its own affair
		if t.Failed() {
			t.Logf("%s wrote:\n%s", c.Path, p.Output())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatalf("starting %s: %v", c.Path, err)
	}
	return address
}

// look finds a program, also where Debian has those of administrators.
func look(name string) (path string, err error) {
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err = exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("e2e/programs.sh installs what the tests run: %w", err)
}

// openDir makes a directory below which servers may write that give up being root.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
