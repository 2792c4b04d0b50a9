package modelcheck

import (
	"fmt"
	"os"
	"testing"
	"time"
)

const (
	everything = putSame | putOther | patchOther | putOld | deleting | disabling
)

// search runs one search and logs its size and, if it found something, how.
func search(t *testing.T, c config) *finding {
	t.Helper()
	began := time.Now()
	g, f := explore(&c)
	t.Logf("%d states, %d steps, %v", len(g.keys), g.steps, time.Since(began).Round(time.Millisecond))
	if f != nil {
		t.Logf("\n%s", g.trace(f))
	}
	return f
}

func (b budget) String() string {
	return fmt.Sprintf("crashes=%d,stops=%d,store=%d,server=%d,operator=%d", b.crashes, b.pauses, b.store, b.server, b.operator)
}

func (c config) name() string {
	mode := "takeover"
	switch {
	case c.never:
		mode = "never"
	case c.grace:
		mode = "grace"
	}
	if c.softDelete {
		mode += ",soft"
	}
	return mode + ":" + c.budget.String()
}

func holds(t *testing.T, configs []config) {
	for _, c := range configs {
		c.replicas, c.rotations, c.writes = maxReplicas, 2, everything
		if c.grace {
			c.rotations = 1 // the grace is of one token; a second one multiplies the states
		}
		t.Run(c.name(), func(t *testing.T) {
			if f := search(t, c); f != nil {
				t.Errorf("broken: %v", f.property)
			}
		})
	}
}

// The order of a budget is crashes, stops, store, server, operator.

func TestProtocolHolds(t *testing.T) {
	holds(t, []config{
		{budget: budget{1, 1, 0, 1, 0}},
		{budget: budget{1, 0, 1, 1, 0}},
		{budget: budget{0, 1, 1, 1, 0}},
		{budget: budget{1, 0, 1, 0, 1}},
		{budget: budget{0, 0, 2, 2, 0}},
		{budget: budget{0, 0, 1, 0, 2}},
		{never: true, budget: budget{1, 1, 1, 1, 0}},
		{never: true, budget: budget{0, 0, 2, 0, 1}},
		{never: true, budget: budget{1, 0, 0, 0, 2}},
		{grace: true, budget: budget{1, 0, 0, 1, 0}},
		{grace: true, budget: budget{0, 1, 0, 0, 0}},
	})
}

// Without crashes and stops a takeover gives nothing up.
func TestPromiseIsLiteralWhileAllAreWithinReach(t *testing.T) {
	holds(t, []config{
		{strict: true, budget: budget{0, 0, 2, 1, 0}},
		{strict: true, budget: budget{0, 0, 1, 0, 1}},
	})
}

func TestProtocolHoldsUnderManyFaults(t *testing.T) {
	if underRace || testing.Short() {
		t.Skip("too long")
	}
	holds(t, []config{
		{budget: budget{1, 1, 1, 1, 0}},
		{budget: budget{1, 0, 0, 1, 2}},
		{budget: budget{2, 1, 0, 1, 0}},
		{budget: budget{1, 2, 1, 0, 0}},
		{budget: budget{1, 0, 2, 2, 0}},
		{budget: budget{0, 1, 2, 1, 0}},
		{budget: budget{1, 0, 1, 1, 1}},
		{budget: budget{0, 1, 1, 1, 1}},
		{budget: budget{0, 0, 1, 1, 2}},
		{never: true, budget: budget{2, 2, 2, 2, 0}},
		{never: true, budget: budget{1, 1, 1, 1, 1}},
		{never: true, budget: budget{1, 0, 1, 0, 2}},
		{grace: true, budget: budget{1, 0, 1, 1, 0}},
		{grace: true, budget: budget{0, 1, 1, 1, 0}},
		{softDelete: true, except: deletedStays, budget: budget{0, 0, 1, 1, 2}},
	})
}

// With MODELCHECK=soak in the environment: 40 million states, 7 minutes, 4 GB.
func TestProtocolHoldsUnderMoreFaults(t *testing.T) {
	if os.Getenv("MODELCHECK") != "soak" {
		t.Skip("MODELCHECK=soak runs it")
	}
	holds(t, []config{
		{budget: budget{2, 1, 1, 1, 0}},
		{budget: budget{1, 2, 1, 1, 0}},
		{budget: budget{1, 1, 2, 1, 0}},
		{budget: budget{1, 1, 1, 2, 0}},
		{budget: budget{2, 2, 0, 1, 0}},
		{budget: budget{2, 0, 2, 2, 0}},
		{budget: budget{1, 1, 1, 0, 1}},
		{budget: budget{1, 1, 1, 1, 1}},
		{budget: budget{1, 0, 1, 1, 2}},
		{budget: budget{0, 1, 1, 1, 2}},
		{never: true, budget: budget{2, 2, 2, 2, 1}},
		{never: true, budget: budget{1, 1, 1, 1, 2}},
		{grace: true, budget: budget{1, 1, 1, 1, 0}},
		{softDelete: true, except: deletedStays, budget: budget{1, 0, 1, 1, 2}},
	})
}

// A model that gets nowhere breaks nothing.
func TestModelGetsEverywhere(t *testing.T) {
	done := map[string]bool{}
	reached := map[string]bool{}
	for _, b := range []budget{{1, 1, 0, 0, 0}, {1, 0, 1, 0, 0}, {0, 1, 1, 0, 0}, {0, 0, 1, 1, 0}, {1, 0, 0, 0, 1}} {
		c := config{replicas: maxReplicas, rotations: 2, budget: b, writes: everything}
		g, _ := explore(&c)
		for i := range g.keys {
			s := g.keys[i].unpack()
			st, _ := c.look(&s)
			reached[tokenName(s.newest.token)+" "+st.String()] = true
			for _, next := range c.successors(&s, nil) {
				done[next.what] = true
			}
		}
	}
	for _, what := range []string{
		"claims", "claims; the write is late", "reads its nonce back", "writes its claim again", "gives its claim up and owes a release",
		"claims after takeover", "claims over a silent claim", "finds an answer in a journal", "finds a claim in a journal that may still land",
		"sees its deadline passed and sends nothing", "releases", "rewrites the document unchanged", "is answered 503",
		"was refused and asks for reauthorization", "was refused, finds that somebody moved on, and settles",
		"commits", "finds its tokens in and settles", "finds another token, which wins, and settles",
		"a late write lands", "a slow request reaches the server", "is started again", "goes on",
	} {
		if !done[what] {
			t.Errorf("nobody ever %s", what)
		}
	}
	for _, where := range []string{"t2 ready", "x1 ready", "t1 reauthorization_required", "t0 spending", "x0 spending"} {
		if !reached[where] {
			t.Errorf("the document is never %s", where)
		}
	}
}
