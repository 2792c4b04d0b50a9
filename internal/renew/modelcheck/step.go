package modelcheck

// class tells how a step counts when faults stop.
type class uint8

const (
	progress class = iota // somebody works, or time passes
	revival               // a stopped process goes on, an exited one is started again
	fault                 // counted against the budget
)

// step is one transition, with the property that it breaks.
type step struct {
	who    uint8 // a replica; nobody: the world
	what   string
	class  class
	broken property
}

// successor is a step with the state after it.
type successor struct {
	step
	state
}

// stepper collects the successors of one state.
type stepper struct {
	*config
	from *state
	out  []successor
}

// add appends a copy of the state and returns it, for the caller to change.
func (x *stepper) add(who int, what string, cl class) *successor {
	x.out = append(x.out, successor{step: step{who: uint8(who), what: what, class: cl}, state: *x.from})
	return &x.out[len(x.out)-1]
}

// successors appends all that can happen in s.
func (c *config) successors(s *state, out []successor) []successor {
	x := stepper{config: c, from: s, out: out[:0]}
	for p := range c.replicas {
		x.process(p)
		if s.replicas[p].running() {
			x.act(p)
		}
		for in := range slots {
			x.serve(p, in)
		}
	}
	x.world()
	x.operate()
	return x.out
}
