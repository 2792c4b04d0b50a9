package modelcheck

// process is what happens to a process as a whole.
func (x *stepper) process(p int) {
	s, r := x.from, x.from.replicas[p]
	if r.stage == dead {
		x.add(p, "is started again", revival).replicas[p] = replica{stage: idle}
		return
	}
	if s.left.crashes > 0 {
		a := x.add(p, "dies", fault)
		a.left.crashes--
		a.crash(p)
	}
	switch {
	case r.paused:
		x.add(p, "goes on", revival).replicas[p].paused = false
	case s.left.pauses > 0:
		a := x.add(p, "is stopped past every deadline", fault)
		a.left.pauses--
		a.replicas[p].paused = true
		a.replicas[p].late = r.stage >= claiming && r.stage <= answered
	}
}

// crash leaves of a process its journal file, and its requests on the way.
func (s *state) crash(p int) {
	switch r := s.replicas[p]; r.stage {
	case sent:
		s.under.add(r.token)
	case answered:
		s.lost.add(r.token.next())
	}
	for i := range s.notes {
		n := &s.notes[i]
		if n.kind == noNote || n.holder != uint8(p) {
			continue
		}
		if !n.orphaned {
			n.orphaned, n.machine = true, machineOf[p]
		}
		n.holder = nobody
	}
	s.replicas[p] = replica{}
}

// serve is the authorization server at the request of a replica, which need not
// be running to be served.
func (x *stepper) serve(p int) {
	s, r := x.from, x.from.replicas[p]
	if r.stage != sent {
		return
	}
	if x.accepts(s, r.token) {
		a := x.add(p, "is granted new tokens", progress)
		a.used.add(r.token)
		a.replicas[p].stage = answered
	} else {
		x.add(p, "is answered invalid_grant", progress).replicas[p].stage = refused
	}
	if s.left.server > 0 && r.running() {
		// The server did not look at the token: this was no sending.
		a := x.add(p, "is answered 503", fault)
		a.left.server--
		a.sent[r.token] = max(a.sent[r.token], 1) - 1
		a.replicas[p].stage = owing
	}
}

func (c *config) accepts(s *state, t token) bool {
	return !s.used.has(t) || (c.grace && !s.graceOver.has(t))
}

// world is what happens without a replica.
func (x *stepper) world() {
	s := x.from
	for i, v := range s.late {
		if !v.absent {
			a := x.add(nobody, "a late write lands", progress)
			a.late[i] = version{absent: true}
			a.broken = x.put(&a.state, v)
		}
	}
	for t := t0; t < tokens; t++ {
		if s.under.has(t) {
			a := x.add(nobody, "a slow request reaches the server", progress)
			a.under.remove(t)
			if x.accepts(s, t) {
				a.used.add(t)
				a.lost.add(t.next())
			}
		}
		if x.grace && s.used.has(t) && !s.graceOver.has(t) && !s.waitedFor(t) {
			x.endGrace(t)
		}
	}
}

// endGrace lets the time pass that the server takes a token again. It is longer
// than a hard deadline, and within it only those claim over another claim who
// have a whole deadline left. So all their deadlines have passed, too.
func (x *stepper) endGrace(t token) {
	a := x.add(nobody, "the grace of a used token ends", progress)
	a.graceOver.add(t)
	for p := range a.replicas {
		r := &a.replicas[p]
		if r.graced && x.flaw == graceUnchecked {
			continue
		}
		if r.token == t && r.stage >= claiming && r.stage <= answered {
			r.late = true
		}
	}
}

// waitedFor reports whether somebody who runs waits for an answer to t, for
// which the grace is time enough.
func (s *state) waitedFor(t token) bool {
	for _, r := range s.replicas {
		if r.token == t && r.running() && (r.stage == sent || r.stage == answered) {
			return true
		}
	}
	return false
}
