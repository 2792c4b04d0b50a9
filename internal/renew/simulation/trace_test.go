package simulation

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
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

// observe takes what the coordinator of a process tells, into the trace.
func (p *process) observe(e renew.Event) {
	text := fmt.Sprintf("%s %d %s %q %v cooldown=%v count=%d after=%v from_journal=%v", e.Kind, e.Status, e.Code, e.Description, e.Err, e.Cooldown, e.Count, e.Duration, e.FromJournal)
	p.mu.Lock()
	if e.Until.After(p.rests[string(e.Tenant)]) {
		p.rests[string(e.Tenant)] = e.Until
	}
	p.mu.Unlock()
	if strings.Contains(text, canary) {
		p.world.ledger.violate(string(e.Tenant), tellsSecret, "%s", text)
	}
	if e.Kind == renew.Panicked {
		p.world.ledger.violate(string(e.Tenant), noPanic, "%v", e.Err)
	}
	p.trace("%s: %s", e.Tenant, text)
}
