// Command xcaddybuild runs xcaddy as an xcaddy.json says, which states a custom
// build of Caddy: its version, the plugins and what replaces which module.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// build is the content of an xcaddy.json.
type build struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"` // empty: what replacements say, else the latest
	} `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"` // a module path with its version, or a directory
	} `json:"replacements"`
}

func main() {
	file := flag.String("file", "xcaddy.json", "the `file` that states the build")
	xcaddy := flag.String("xcaddy", "xcaddy", "the xcaddy `program`")
	output := flag.String("output", "caddy", "the `file` to write")
	limit := flag.Duration("limit", 20*time.Minute, "how long it may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := run(ctx, *file, *xcaddy, *output, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "xcaddybuild:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file, xcaddy, output string, log io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var b build
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	args, err := b.args(output)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	proxy, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return fmt.Errorf("asking for GOPROXY: %w", err)
	}
	dir, err := os.MkdirTemp("", "xcaddybuild")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	proxies := lenient(strings.TrimSpace(string(proxy)))
	command := exec.CommandContext(ctx, xcaddy, args...)
	command.Env = append(os.Environ(), "GOPROXY="+proxies, "TMPDIR="+dir)
	command.Stdout, command.Stderr = log, log
	// The go command waits for a proxy that does not answer as long as that takes, and
	// xcaddy for the go command, whatever it is told. So both are ended.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	err = command.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not built in time; modules come from GOPROXY=%s: does it answer?", proxies)
	}
	return err
}

// lenient makes a GOPROXY whose refusals count as "not found". Go looks for a
// module at the path of the plugin's package before it looks at the module that
// replaces it, and takes for a failure whatever a proxy or a version control
// system says of a module that is not published in other words.
func lenient(proxy string) string {
	proxies := strings.FieldsFunc(proxy, func(r rune) bool { return r == ',' || r == '|' })
	proxies = slices.DeleteFunc(proxies, func(p string) bool { return p == "direct" || p == "off" })
	return strings.Join(append(proxies, "off"), "|")
}

// args are the arguments for xcaddy.
func (b *build) args(output string) ([]string, error) {
	if b.CaddyVersion == "" || len(b.Plugins) == 0 {
		return nil, errors.New("it names no caddy_version or no plugins")
	}
	args := []string{"build", b.CaddyVersion, "--output", output}
	for _, plugin := range b.Plugins {
		with := plugin.ModulePath
		if plugin.Version != "" {
			with += "@" + plugin.Version
		}
		args = append(args, "--with", with)
	}
	for _, replacement := range b.Replacements {
		args = append(args, "--replace", replacement.Old+"="+replacement.New)
	}
	return args, nil
}
