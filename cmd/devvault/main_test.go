package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// asProgram makes the test binary run main instead of the tests: the processes
// below are the real program, without a second link of all of Vault.
const asProgram = "DEVVAULT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a running devvault.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{}

	url, unsealKey, rootToken string
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// launch starts the program without waiting for it to be ready.
func launch(t *testing.T, args ...string) (*process, *bufio.Scanner) {
	t.Helper()
	p := &process{cmd: program(args...), exited: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	p.cmd.Stdout = w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() { p.kill() })
	return p, bufio.NewScanner(r)
}

// start starts the program and waits until it says that it is ready.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p, out := launch(t, append([]string{"-dev-listen-address=127.0.0.1:0"}, args...)...)
	timeout := time.AfterFunc(30*time.Second, func() { p.cmd.Process.Kill() })
	defer timeout.Stop()
	for out.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(out.Text()), ": ")
		switch name {
		case "Api Address":
			p.url = value
		case "Unseal Key":
			p.unsealKey = value
		case "Root Token":
			p.rootToken = value
			return p
		}
	}
	<-p.exited
	t.Fatalf("%v: no start, %v: %s", args, p.cmd.ProcessState, &p.stderr)
	return nil
}

// fail runs the program to its end, which must not be a good one.
func fail(t *testing.T, args ...string) (stderr string) {
	t.Helper()
	out, err := program(args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%v: err = %v, want a failure", args, err)
	}
	return string(out)
}

// kill is kill -9.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to end and returns its exit code.
func (p *process) stop(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		t.Fatalf("still running 10 s after %v: %s", sig, &p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// client speaks to p with token, and tries nothing twice.
func (p *process) client(t *testing.T, token string) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = p.url
	config.MaxRetries = 0
	c, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(token)
	return c
}

func (p *process) root(t *testing.T) *api.Client {
	t.Helper()
	return p.client(t, p.rootToken)
}
