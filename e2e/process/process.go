package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a running program. Its standard output and error are kept.
type Process struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{} // closed once err is set
	err    error
}

// Command is how to start a program.
type Command struct {
	Path  string
	Args  []string
	Dir   string     // its working directory
	Env   []string   // what it has beyond our own environment
	Files []*os.File // its file descriptors from 3 on
}

// Start starts a program.
func Start(c Command) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(context.Background(), c.Path, c.Args...), exited: make(chan struct{})}
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.ExtraFiles = c.Files
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is what the process has written so far.
func (p *Process) Output() []byte { return p.output.copy() }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Await polls until ready returns nil, and fails with its last error when ctx is
// done, or when the process ends.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the process ended: %w\n%s", errors.Join(p.err, err), p.Output())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w\n%s", err, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks the process to end, waits until it has, and returns an error if it
// did not end well. When ctx is done it is killed.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("did not end when asked to: %w", ctx.Err())
	}
}

// Kill ends the process at once, as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Suspend stops the process as SIGSTOP does: it keeps its connections and its
// locks, and does nothing until [Process.Resume].
func (p *Process) Suspend() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a suspended process go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// output is a buffer that can be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) copy() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}
