package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// trace is what happened in a run. It is formatted only if somebody wants to
// read it.
type trace struct {
	start time.Time

	mu    sync.Mutex
	lines []line
}

type line struct {
	at     time.Duration
	format string
	args   []any
}

func (t *trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line{time.Since(t.start), format, args})
}

func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all strings.Builder
	for _, l := range t.lines {
		fmt.Fprintf(&all, "%10.3f  %s\n", l.at.Seconds(), fmt.Sprintf(l.format, l.args...))
	}
	return all.String()
}

// logger is a [slog.Handler] that puts a process's log into the trace.
type logger struct {
	process *process
}

func (l logger) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l logger) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	provider, rest := "", time.Duration(0)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		switch a.Key {
		case "provider":
			provider = a.Value.String()
		case "rest":
			rest = a.Value.Duration()
		}
		return true
	})
	l.process.noteRest(provider, rest)
	if strings.Contains(text.String(), canary) {
		l.process.world.ledger.violate(provider, logsSecret, "%s", text.String())
	}
	l.process.trace("log: %s", text.String())
	return nil
}

func (l logger) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l logger) WithGroup(string) slog.Handler      { return l }
