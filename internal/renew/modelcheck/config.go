package modelcheck

// config is one run of the search: the world, its faults, what is wrong with the
// protocol, and what to look at.
type config struct {
	rotations  uint8 // how often the first token is exchanged
	replicas   int
	never      bool // takeover never; otherwise a duration
	grace      bool // rotation grace; otherwise single_use
	keeps      bool // the server gives a new refresh token or none, as it likes
	neighbour  bool // other tenants of the provider have tokens that survive their use
	softDelete bool // a deletion leaves the version as it is, as in Vault
	stepwise   bool // reading the document, adopting a journal and what follows are steps of their own
	budget     budget
	writes     writes // what operators may do
	flaw       flaw

	// strict excuses nothing: neither a takeover, which counts as knowing who has
	// been out of reach for all of it, nor operators who destroy the claim.
	strict bool

	only   property // looked at alone, if set
	except property // not looked at: known not to hold in this world
}

func (c *config) ignored(p property) bool {
	return p == none || p == c.except || (c.only != none && p != c.only)
}

// start is the initial state: everybody is idle, and the document has the first
// token and no key.
func (c *config) start() state {
	s := state{left: c.budget}
	for i := range s.older {
		s.older[i].absent = true
	}
	for i := range s.late {
		s.late[i].absent = true
	}
	for p := range c.replicas {
		s.replicas[p].stage = idle
	}
	s.canonical(c)
	return s
}
