package modelcheck

import (
	"fmt"
	"strings"
)

// trace tells how the search got to a finding, one line a step, with names that
// do not change on the way.
func (g *graph) trace(f *finding) string {
	var path []uint32
	for at := f.at; at != 0; at = g.parent[at] {
		path = append(path, at)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "broken: %v\n", f.property)
	s := g.start()
	fmt.Fprintf(&b, "%-66s %s\n", "start", s.describe(g.config))
	for i := len(path) - 1; i >= 0; i-- {
		for _, next := range g.successors(&s, nil) {
			same := next.state
			if same.canonical(g.config) == g.keys[path[i]] {
				s = next.state
				s.forget(g.config)
				fmt.Fprintf(&b, "%-66s %s\n", next.step, s.describe(g.config))
				break
			}
		}
	}
	if f.step != nil {
		for _, next := range g.successors(&s, nil) {
			if next.broken == f.property {
				fmt.Fprintf(&b, "%-66s %s\n", next.step, next.describe(g.config))
				break
			}
		}
	}
	return b.String()
}

func (s step) String() string {
	if s.who == nobody {
		return s.what
	}
	return fmt.Sprintf("replica %d %s", s.who, s.what)
}

func (s *state) describe(c *config) string {
	known := c.look(s)
	b := fmt.Sprintf("%s %v%s", tokenName(s.newest.token), known.status, nonceName(known.nonce))
	switch {
	case s.newest.destroyed:
		b += " DESTROYED"
	case s.newest.deleted:
		b += " DELETED"
	}
	if s.newest.disabled {
		b += " DISABLED"
	}
	if !s.newest.keyed() {
		b += " (no key)"
	}
	b += " |"
	for _, r := range s.replicas {
		b += " " + r.describe()
	}
	b += " |"
	for _, n := range s.journal {
		if n.kind != noRecord {
			b += " " + n.describe()
		}
	}
	for _, v := range s.late {
		if !v.absent {
			b += fmt.Sprintf(" late(%s %v%s)", tokenName(v.token), v.status, nonceName(v.nonce))
		}
	}
	return b
}

func (r replica) describe() string {
	b := r.attempt.describe()
	if r.back.stage != exited {
		b += "+" + r.back.describe()
	}
	if r.paused {
		b += "/stopped"
	}
	return b
}

func (a attempt) describe() string {
	b := a.stage.String()
	if a.stage > looked {
		b += "(" + tokenName(a.token) + nonceName(a.nonce) + ")"
	}
	if a.stage == answered {
		b += ":" + a.answer.String()
	}
	if a.stale {
		b += "/stale"
	}
	if a.late {
		b += "/late"
	}
	if a.excused {
		b += "/excused"
	}
	return b
}

func (n claimRecord) describe() string {
	b := n.kind.String() + "(" + tokenName(n.token) + nonceName(n.nonce) + ")"
	if n.base {
		b += "/base"
	}
	switch {
	case n.orphaned && n.holder == nobody:
		b += fmt.Sprintf("@exited%d", n.machine)
	case n.orphaned:
		b += fmt.Sprintf("@exited%d,held by %d", n.machine, n.holder)
	default:
		b += fmt.Sprintf("@%d", n.holder)
	}
	return b
}

func tokenName(t token) string { return [...]string{"t0", "t1", "t2", "x0", "x1"}[t] }

func nonceName(n nonce) string {
	switch n {
	case noNonce:
		return ""
	case unreadable:
		return "#?"
	default:
		return fmt.Sprintf("#%d", n)
	}
}
