package process

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Env: []string{"WORD=ready"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func says(p *Process, word string) func(context.Context) error {
	return func(context.Context) error {
		if !strings.Contains(string(p.Output()), word) {
			return errors.New("not yet")
		}
		return nil
	}
}

func TestAwaitReadinessAndStop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p := start(t, `trap 'echo ended; exit 0' TERM; echo $WORD; while :; do sleep 0.01; done`)
	if err := p.Await(ctx, says(p, "ready")); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); err != nil || !strings.Contains(string(p.Output()), "ended") {
		t.Errorf("%v, %q", err, p.Output())
	}
}

func TestAwaitSeesTheEnd(t *testing.T) {
	p := start(t, `echo gone >&2; exit 3`)
	if err := p.Await(t.Context(), says(p, "ready")); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("%v", err)
	}
	if err := p.Stop(t.Context()); err == nil {
		t.Error("a failed process ended well")
	}
}

func TestStopKillsInTheEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p := start(t, `trap '' TERM; echo ready; while :; do sleep 0.01; done`)
	if err := p.Await(t.Context(), says(p, "ready")); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-p.Exited()
}

func TestSuspendedProcessDoesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p := start(t, `while :; do echo .; sleep 0.01; done`)
	grows := func() error {
		before := len(p.Output())
		return p.Await(ctx, func(ctx context.Context) error {
			if len(p.Output()) > before+5 {
				return nil
			}
			return errors.New("it writes nothing")
		})
	}
	if err := grows(); err != nil {
		t.Fatal(err)
	}
	if err := p.Suspend(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	before := len(p.Output())
	<-short.Done()
	if written := len(p.Output()) - before; written > 10 {
		t.Errorf("it wrote %d bytes", written)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := grows(); err != nil {
		t.Error(err)
	}
}

func TestFreeAddressesDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		address, err := FreeAddress()
		if err != nil || seen[address] {
			t.Fatal(address, err)
		}
		seen[address] = true
	}
}

func TestWhatAProcessTakes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p := start(t, `exec 7</dev/null 8</dev/null; echo $WORD; while :; do sleep 0.01; done`)
	if err := p.Await(ctx, says(p, "ready")); err != nil {
		t.Fatal(err)
	}
	m, err := p.Memory()
	if err != nil || m.Anonymous < 1<<10 || m.Resident < m.Anonymous || m.Resident > 1<<30 {
		t.Errorf("%+v, %v", m, err)
	}
	if n, err := p.Descriptors(); err != nil || n < 5 || n > 50 {
		t.Errorf("%d descriptors, %v", n, err)
	}
	before, err := Processors()
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(ctx, func(context.Context) error {
		now, err := Processors()
		if share := now.Since(before); err != nil || share <= 0 || share > 1 {
			return errors.Join(err, errors.New("the processors have done nothing yet"))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
