package modelcheck

import (
	"encoding/binary"
	"math/bits"
)

// graph is what a search has seen: states in the order of their discovery, each
// with the state that it was first reached from and the steps without a fault
// that lead out of it.
type graph struct {
	*config
	keys   []key
	parent []uint32
	table  []uint32 // open addressing: 1 + index into keys, 0 is free
	first  []uint32 // index into edges of a state's first edge
	edges  []uint32 // target, with revivalEdge if somebody must come back for it
	steps  int
}

const revivalEdge = 1 << 31

// finding is a broken property: at a state, or in the step from it to another.
type finding struct {
	property property
	at       uint32
	step     *step // the breaking step, if it is one
}

// explore searches breadth first for all that can happen, up to the first broken
// property, whose trace is then a shortest one.
func explore(c *config) (*graph, *finding) {
	g := &graph{config: c, table: make([]uint32, 1<<16)}
	start := c.start()
	g.insert(start.canonical(c), 0)
	var out []successor
	for at := uint32(0); int(at) < len(g.keys); at++ {
		s := g.keys[at].unpack()
		if p := c.invariant(&s); !c.ignored(p) {
			return g, &finding{property: p, at: at}
		}
		g.first = append(g.first, uint32(len(g.edges)))
		out = c.successors(&s, out)
		g.steps += len(out)
		for i := range out {
			if p := out[i].broken; !c.ignored(p) {
				return g, &finding{property: p, at: at, step: &out[i].step}
			}
			to := g.insert(out[i].canonical(c), at)
			switch out[i].class {
			case progress:
				g.edges = append(g.edges, to)
			case revival:
				g.edges = append(g.edges, to|revivalEdge)
			}
		}
	}
	g.first = append(g.first, uint32(len(g.edges)))
	return g, g.stuck()
}

// insert returns the index of a state, which it adds if it is new.
func (g *graph) insert(k key, from uint32) uint32 {
	mask := uint32(len(g.table) - 1)
	at := k.hash() & mask
	for ; g.table[at] != 0; at = (at + 1) & mask {
		if i := g.table[at] - 1; g.keys[i] == k {
			return i
		}
	}
	g.keys = append(g.keys, k)
	g.parent = append(g.parent, from)
	g.table[at] = uint32(len(g.keys))
	if len(g.keys) > len(g.table)/2 {
		g.grow()
	}
	return uint32(len(g.keys) - 1)
}

func (g *graph) grow() {
	g.table = make([]uint32, 2*len(g.table))
	mask := uint32(len(g.table) - 1)
	for i := range g.keys {
		at := g.keys[i].hash() & mask
		for g.table[at] != 0 {
			at = (at + 1) & mask
		}
		g.table[at] = uint32(i + 1)
	}
}

func (k *key) hash() uint32 {
	var h uint64
	for i := 0; i < keySize; i += 8 {
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(k[i:]), 0x9E3779B97F4A7C15)
		h = hi ^ lo
	}
	return uint32(h>>32) ^ uint32(h)
}

// stuck looks for a state from which, without further faults, the document can
// never be settled; and for one from which those who run can never get it out of
// everybody's hands while the others stay away.
func (g *graph) stuck() *finding {
	if g.ignored(noneStuck) {
		return nil
	}
	if at, found := g.cannot(g.settled, func(*state) bool { return true }, true); found {
		return &finding{property: noneStuck, at: at}
	}
	somebody := func(s *state) bool {
		for _, r := range s.replicas {
			if r.running() {
				return true
			}
		}
		return false
	}
	if at, found := g.cannot(g.moved, somebody, false); found {
		return &finding{property: noneStuck, at: at}
	}
	return nil
}

// cannot finds the first state that ought to reach the goal by steps without a
// fault and does not.
func (g *graph) cannot(goal, ought func(*state) bool, revivals bool) (uint32, bool) {
	reaches := make([]bool, len(g.keys))
	for i := range g.keys {
		s := g.keys[i].unpack()
		reaches[i] = goal(&s)
	}
	// Most steps lead to states found later, so going backwards is quick.
	for changed := true; changed; {
		changed = false
		for i := len(g.keys) - 1; i >= 0; i-- {
			if reaches[i] {
				continue
			}
			for _, e := range g.edges[g.first[i]:g.first[i+1]] {
				if (revivals || e&revivalEdge == 0) && reaches[e&^revivalEdge] {
					reaches[i], changed = true, true
					break
				}
			}
		}
	}
	for i := range g.keys {
		if !reaches[i] {
			if s := g.keys[i].unpack(); ought(&s) {
				return uint32(i), true
			}
		}
	}
	return 0, false
}
