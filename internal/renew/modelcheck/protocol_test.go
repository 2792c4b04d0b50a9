package modelcheck

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const everything = putSame | putOther | patchOther | putOld | deleting | disabling | destroying

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
	modes := []string{"takeover"}
	if c.never {
		modes[0] = "never"
	}
	add := func(mode string, on bool) {
		if on {
			modes = append(modes, mode)
		}
	}
	add("grace", c.grace)
	add("keeps", c.keeps)
	add("neighbour", c.neighbour)
	add("soft", c.softDelete)
	add("stepwise", c.stepwise)
	return strings.Join(modes, ",") + ":" + c.budget.String()
}

// withDefaults is the largest world, unless the configuration says less.
func (c config) withDefaults() config {
	c.replicas = cmp.Or(c.replicas, maxReplicas)
	c.writes = cmp.Or(c.writes, everything)
	c.rotations = cmp.Or(c.rotations, 2)
	if c.grace {
		c.rotations = 1 // the grace is of one token; a second one multiplies the states
	}
	if c.softDelete && c.budget.store > 0 && c.only == none {
		c.except = deletedStays // by a late write: see TestLimits
	}
	return c
}

func holds(t *testing.T, configs []config) {
	for _, c := range configs {
		c = c.withDefaults()
		t.Run(c.name(), func(t *testing.T) {
			if f := search(t, c); f != nil {
				t.Errorf("broken: %v", f.property)
			}
		})
	}
}

// large leaves a test of some seconds to a run without the race detector.
func large(t *testing.T) {
	if underRace {
		t.Skip("too long under the race detector, in one goroutine")
	}
}

// soak leaves the large searches to make soak: they take minutes, and each state
// some 150 bytes.
func soak(t *testing.T) {
	if os.Getenv("MODELCHECK") != "soak" {
		t.Skip("MODELCHECK=soak runs it")
	}
}

// The order of a budget is crashes, stops, store, server, operator.

func TestProtocolHolds(t *testing.T) {
	large(t)
	holds(t, []config{
		{budget: budget{1, 0, 1, 1, 0}},
		{budget: budget{0, 1, 0, 1, 0}},
		{budget: budget{0, 0, 1, 0, 1}},
		{never: true, budget: budget{1, 1, 1, 1, 0}},
		{never: true, budget: budget{0, 0, 0, 1, 1}},
		{grace: true, budget: budget{0, 0, 0, 1, 0}},
		{keeps: true, budget: budget{1, 0, 0, 1, 0}},
		{keeps: true, never: true, neighbour: true, budget: budget{1, 0, 1, 0, 0}},
		{stepwise: true, softDelete: true, budget: budget{0, 0, 0, 0, 1}},
		{stepwise: true, never: true, budget: budget{1, 0, 0, 0, 0}},
	})
}

// A world of another kind each time: MODELCHECK_SEED repeats one.
func TestProtocolHoldsInAWorldAtRandom(t *testing.T) {
	large(t)
	seed := rand.Uint64() //nolint:gosec // chooses a test, guards nothing
	if text := os.Getenv("MODELCHECK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MODELCHECK_SEED=%d", seed)
	holds(t, []config{worldAtRandom(rand.New(rand.NewPCG(seed, 0)))}) //nolint:gosec // likewise
}

// worldAtRandom is one in which at most two things go wrong, and small enough for
// every run.
func worldAtRandom(r *rand.Rand) config {
	var c config
	one := func(n int) bool { return r.IntN(n) == 0 }
	switch r.IntN(5) {
	case 0, 1:
		c.never = true
	case 2:
		c.grace = true
	}
	c.keeps = !c.grace && one(3)
	c.neighbour = one(4)
	c.softDelete = one(3)
	c.stepwise = !c.grace && one(3)
	kinds := []*uint8{&c.budget.crashes, &c.budget.pauses, &c.budget.store, &c.budget.server, &c.budget.operator}
	faults := 2
	if c.grace {
		kinds = kinds[:4] // operators take millions of states there
	}
	if c.grace || c.keeps || c.stepwise {
		faults = 1
	}
	for range faults {
		*kinds[r.IntN(len(kinds))]++
	}
	return c
}

// Without crashes and stops a takeover gives nothing up.
func TestPromiseIsLiteralWhileAllAreWithinReach(t *testing.T) {
	holds(t, []config{
		{strict: true, budget: budget{0, 0, 2, 1, 0}},
		{strict: true, budget: budget{0, 0, 1, 0, 1}},
	})
}

func TestProtocolHoldsUnderManyFaults(t *testing.T) {
	soak(t)
	holds(t, []config{
		{budget: budget{1, 1, 0, 1, 0}},
		{budget: budget{0, 1, 1, 1, 0}},
		{budget: budget{1, 0, 1, 0, 1}},
		{budget: budget{0, 0, 2, 2, 0}},
		{budget: budget{0, 0, 1, 0, 2}},
		{budget: budget{1, 1, 1, 1, 0}},
		{budget: budget{2, 1, 0, 1, 0}},
		{budget: budget{1, 0, 2, 2, 0}},
		{budget: budget{0, 1, 1, 0, 1}},
		{budget: budget{1, 0, 0, 1, 2}},
		{never: true, budget: budget{2, 2, 2, 2, 0}},
		{never: true, budget: budget{1, 1, 1, 1, 1}},
		{never: true, budget: budget{1, 0, 0, 1, 2}},
		{grace: true, budget: budget{1, 0, 0, 1, 0}},
		{grace: true, budget: budget{0, 1, 1, 0, 0}},
		{grace: true, budget: budget{0, 0, 0, 0, 1}},
	})
}

func TestProtocolHoldsUnderMoreFaults(t *testing.T) {
	soak(t)
	holds(t, []config{
		{neighbour: true, keeps: true, budget: budget{1, 1, 0, 1, 0}},
		{keeps: true, budget: budget{0, 0, 1, 1, 1}},
		{keeps: true, never: true, budget: budget{1, 1, 1, 1, 0}},
		{keeps: true, never: true, budget: budget{1, 0, 0, 0, 2}},
		{stepwise: true, budget: budget{1, 0, 1, 1, 0}},
		{stepwise: true, softDelete: true, budget: budget{1, 0, 0, 0, 1}},
		{stepwise: true, never: true, budget: budget{1, 1, 0, 1, 1}},
		{stepwise: true, grace: true, budget: budget{1, 0, 0, 0, 0}},
		{softDelete: true, budget: budget{0, 0, 1, 1, 1}},
		{softDelete: true, never: true, budget: budget{0, 0, 0, 1, 3}},
	})
}

// A model that gets nowhere breaks nothing.
func TestModelGetsEverywhere(t *testing.T) {
	large(t)
	done := map[string]bool{}
	reached := map[string]bool{}
	for _, c := range []config{
		{budget: budget{1, 1, 0, 0, 0}},
		{budget: budget{1, 0, 1, 0, 0}},
		{budget: budget{0, 0, 1, 1, 0}},
		{budget: budget{0, 0, 0, 0, 1}},
		{budget: budget{1, 0, 0, 1, 0}, keeps: true, neighbour: true, replicas: 2},
		{budget: budget{1, 0, 0, 0, 1}, stepwise: true, replicas: 2},
		{budget: budget{0, 0, 0, 1, 1}, replicas: 2},
		{grace: true},
	} {
		c = c.withDefaults()
		g, _ := explore(&c)
		for i := range g.keys {
			s := g.keys[i].unpack()
			reached[tokenName(s.newest.token)+" "+c.look(&s).status.String()] = true
			for _, r := range s.replicas {
				if r.back.stage == sent && r.stage == sent && r.token == x0 {
					reached["x0 sent while t0 is listened for"] = true
				}
			}
			for _, next := range c.successors(&s, nil) {
				done[next.what] = true
			}
		}
	}
	for _, what := range []string{
		"claims", "claims; the write is late", "reads its nonce back", "writes its claim again", "gives its claim up and owes a release",
		"claims after takeover", "claims within the grace", "claims over a silent claim", "reads the document", "adopts an exited process's journal",
		"finds that the document has changed", "finds an answer in a journal", "finds a refusal in a journal",
		"finds in a journal that a token was not used", "finds a claim in a journal that may still land",
		"is kept waiting past its deadline to send", "sees its deadline passed and sends nothing", "releases", "rewrites the document unchanged",
		"is answered 503", "is granted an access token and keeps its refresh token", "commits and marks its token as one that survives",
		"another tenant's token is seen to survive its use", "listens on in the background", "has listened for long enough",
		"was refused and asks for reauthorization", "was refused, finds that somebody moved on, and settles",
		"was refused and leaves its claim, made over another, to takeover",
		"commits", "finds its tokens in and settles", "finds another token, which wins, and settles",
		"a late write lands", "a slow request reaches the server", "is started again", "goes on",
		"an operator destroys the older versions", "an operator destroys all versions",
	} {
		if !done[what] {
			t.Errorf("nobody ever %s", what)
		}
	}
	for _, where := range []string{
		"t2 ready", "x1 ready", "t1 reauthorization_required", "t0 spending", "x0 spending", "x0 sent while t0 is listened for",
	} {
		if !reached[where] {
			t.Errorf("%s is never seen", where)
		}
	}
}
